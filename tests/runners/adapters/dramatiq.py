"""``dramatiq tests.runners.adapters.dramatiq``."""

from __future__ import annotations

import os
from typing import Any

import django
import dramatiq
from django.apps import apps
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Middleware, Retries, TimeLimit

from tests.runners import work


class Hook(Middleware):
    def before_delay_message(self, broker: Any, message: Any) -> None:
        work.hook(message.actor_name)

    def after_ack(self, broker: Any, message: Any) -> None:
        work.hook(message.actor_name)

    def after_nack(self, broker: Any, message: Any) -> None:
        work.hook(message.actor_name)


if not apps.models_ready:  # In the worker, which loads this first.
    django.setup()
middleware = [AgeLimit(), TimeLimit(interval=50), Retries(min_backoff=1, max_backoff=10), Hook()]
broker = RedisBroker(url=os.environ["BROKER_URL"], middleware=middleware)
dramatiq.set_broker(broker)
actors = {
    function.__name__: dramatiq.actor(
        function,
        queue_name=os.environ["NAME"],
        max_retries=int(function is work.retry),
        **({"time_limit": 300} if function is work.last else {}),
    )
    for function in work.TASKS
}


def send(name: str) -> None:
    actors[name].send()
