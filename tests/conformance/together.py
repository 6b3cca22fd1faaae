"""The slow cases, all at once: each does nothing but wait for most of its time, and none minds the others.

The first one that pytest comes to starts all that were collected, each in a thread with a `Case` of its own. For every
case pytest then waits for its thread, so that outcomes, differences and reports are those of any other case.
"""

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.conformance.case import Case

MakeCase = Callable[[pytest.Function, Case], Case]


def is_slow(item: pytest.Item) -> bool:
    """Whether a case waits so long that it must not wait alone."""
    return item.get_closest_marker("slow") is not None


class Together:
    """The threads of the slow cases, by the name of the case."""

    def __init__(self, make_case: MakeCase) -> None:
        self._make_case = make_case
        self._outcomes: dict[str, Future[None]] = {}

    def wait_for(self, item: pytest.Function) -> None:
        """Returns when the case has ended. Raises: whatever the case raised."""
        if item.nodeid not in self._outcomes:
            model: Case = item.funcargs["case"]
            for each in item.session.items:
                if isinstance(each, pytest.Function) and is_slow(each) and not each.get_closest_marker("skip"):
                    self._start(each, self._make_case(each, model))
        self._outcomes[item.nodeid].result()

    def _start(self, item: pytest.Function, case: Case) -> None:
        outcome = self._outcomes[item.nodeid] = Future[None]()
        given = item.callspec.params if hasattr(item, "callspec") else {}
        assert {"case", *given} == set(inspect.signature(item.obj).parameters), "a slow case has no fixture but `case`"

        def run() -> None:
            try:
                item.obj(case=case, **given)
            except BaseException as error:  # pytest's own outcomes are no Exceptions; the waiting thread raises it
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            finally:
                case.close()

        # A run that is broken off does not wait for them.
        threading.Thread(target=run, name=item.name, daemon=True).start()
