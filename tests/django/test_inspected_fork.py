"""A forked child answers for itself, and its parent goes on answering."""

from __future__ import annotations

from .process import Python


def test_a_forked_child_has_a_socket_of_its_own(python: Python) -> None:
    out = python(
        """
        from django_connmgr.inspection.client import ask as ask_processes

        def tell(me):
            replies = {}
            while not set(expected) <= set(replies):  # The background thread has just begun.
                replies = {reply.pid: reply for reply in ask_processes("status")}
            sizes = [pool["size"] for pool in replies[me].answer["pools"]]
            print(sorted(replies) == sorted(expected), replies[me].error, sizes, flush=True)

        ask()
        parent = os.getpid()
        expected = [parent]
        tell(parent)
        if not (pid := os.fork()):
            ask()
            ask()
            expected = [parent, os.getpid()]
            tell(os.getpid())
            tell(parent)
            names = sorted(thread.name for thread in threading.enumerate())
            print(names, flush=True)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        tell(parent)
        """,
        settings="tests.django.ownplace",
    )
    threads = "['MainThread', 'django-connmgr-reaper']"
    assert out.splitlines() == ["True  [1]", "True  [1]", "True  [1]", threads, "True  [1]"]
