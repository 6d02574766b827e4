# The work of scenarios/rails.py, done by Active Record; prints one line of JSON.
#
# Arguments: iterations, threads, connections. The server's address is in BENCHMARKS_SERVER.

require "active_record"
require "json"

OTHER_WORK = 0.01

iterations, threads, connections = ARGV.map(&:to_i)
server = JSON.parse(ENV.fetch("BENCHMARKS_SERVER"))

ActiveRecord::Base.establish_connection(
  adapter: "postgresql",
  host: server["host"],
  port: server["port"],
  username: server["user"],
  password: server["password"],
  database: server["name"],
  pool: connections,
  checkout_timeout: 60,
)

class Customer < ActiveRecord::Base
  self.table_name = "shop_customer"
end

POOL = ActiveRecord::Base.connection_pool

HELD = lambda do |n|
  POOL.with_connection { n.times { Customer.count; sleep OTHER_WORK } }
end

BLOCKS = lambda do |n|
  n.times do
    POOL.with_connection { Customer.count }
    sleep OTHER_WORK
  end
end

def seconds
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  yield
  Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
end

def on_threads(count)
  Array.new(count) { Thread.new { yield } }.each(&:join)
end

on_threads(connections) { POOL.with_connection { Customer.count; sleep 0.2 } }  # Open them all.

puts JSON.generate(
  "alone, held" => seconds { HELD.call(iterations) },
  "alone, blocks" => seconds { BLOCKS.call(iterations) },
  "threads, held" => seconds { on_threads(threads) { HELD.call(iterations) } },
  "threads, blocks" => seconds { on_threads(threads) { BLOCKS.call(iterations) } },
)
