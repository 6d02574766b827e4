"""A signal has a report written to the log, whatever the process is in the middle of."""

from __future__ import annotations

from .process import Python

_SETTINGS = "tests.django.reportsettings"


def test_an_exhausted_process_reports_who_holds_what(python: Python) -> None:
    out = python(
        """
        import logging
        class Print(logging.Handler):
            def emit(self, record):
                print(record.getMessage(), flush=True)
                reported.set()
        reported = threading.Event()
        logging.getLogger("django_connmgr.report").addHandler(Print())
        logging.getLogger("django_connmgr.report").propagate = False

        def wait_in_vain():
            try:
                ask()
            except PoolTimeout:
                pass

        with unit_of_work("GET /slow/"), transaction.atomic():
            ask()
            thread = threading.Thread(target=wait_in_vain, name="waiter")
            thread.start()
            while not pools["default"].stats().waiting:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR2)
            assert reported.wait(20)
        thread.join()
        """,
        settings=_SETTINGS,
        pool="max_size=1,timeout=30",
    )
    assert "default (open): 1 of 1, 1 leased, 0 warm, 0 cold, 1 waiting" in out
    assert "Lease of default by thread 'MainThread'" in out
    assert "in GET /slow/, by transaction:" in out
    assert "Waiter for default: thread 'waiter'" in out


def test_a_thousand_signals_in_the_middle_of_queries_harm_nothing(python: Python) -> None:
    out = python(
        """
        import logging
        count = [0]
        class Count(logging.Handler):
            def emit(self, record):
                count[0] += 1
        logging.getLogger("django_connmgr.report").addHandler(Count())
        logging.getLogger("django_connmgr.report").propagate = False
        is_over = threading.Event()

        def send():
            for _ in range(1000):
                os.kill(os.getpid(), signal.SIGUSR2)
                time.sleep(0.001)
            is_over.set()

        thread = threading.Thread(target=send)
        thread.start()
        while not is_over.is_set():
            with unit_of_work():
                assert ask("SELECT 1") == 1
        thread.join()
        while count[0] < 100:
            time.sleep(0.01)
        print(pools["default"].stats().leased)
        """,
        settings=_SETTINGS,
        pool="max_size=1",
    )
    assert out.split() == ["0"]


def test_a_handler_that_was_there_before_is_called_too(python: Python) -> None:
    out = python(
        """
        from django_connmgr.inspection import signal_report
        signal.signal(signal.SIGUSR2, lambda *_: print("before", flush=True))
        signal_report.install()
        import logging
        logging.getLogger("django_connmgr.report").disabled = True
        os.kill(os.getpid(), signal.SIGUSR2)
        """,
        settings=_SETTINGS,
    )
    assert out.split() == ["before"]


def test_off_the_main_thread_it_says_that_it_cannot(python: Python) -> None:
    python(
        """
        from django_connmgr.inspection import signal_report
        thread = threading.Thread(target=signal_report.install)
        thread.start()
        thread.join()
        """,
        settings=_SETTINGS,
        stderr_has="CONNMGR['REPORT_SIGNAL'] has no effect: django.setup() was not called on the",
    )
