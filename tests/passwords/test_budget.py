# SPDX-License-Identifier: Apache-2.0
"""Passwords never take more memory and cores than they may: who does not fit waits in line, or is refused at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from securekit.exceptions import PasswordBusyError
from securekit.passwords import Budget, PasswordHasher
from securekit.testing import fast_passwords
from tests.conftest import Count

MIB = 1024  # KiB

# 64 threads at once, in a process of their own, so that its peak of memory is theirs alone.
LOGINS = """
import json, re, sys, threading
from securekit.exceptions import PasswordBusyError
from securekit.passwords import Budget, PasswordHasher, Profile

budget = Budget(max_memory=256, max_waiting=int(sys.argv[1]), max_running=64)
hasher = PasswordHasher(Profile("one pass", "argon2id", {"m": 65536, "t": 1, "p": 1}), budget=budget)  # the memory of "modern"
stored = hasher.hash("correct horse battery staple")
start, outcomes = threading.Barrier(64), []

def login():
    start.wait()
    try:
        hasher.verify("correct horse battery staple", hash=stored)
        outcomes.append("done")
    except PasswordBusyError:
        outcomes.append("busy")

threads = [threading.Thread(target=login) for _ in range(64)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
# Not getrusage's, which is that of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps([outcomes, peak / 1024]))
"""


@pytest.mark.parametrize(("waiting", "refused"), [(64, range(1)), (4, range(20, 57))])
def test_64_logins_stay_within_256_mib(waiting: int, refused: range, count: Count) -> None:
    """A burst of logins of 64 MiB each stays under 400 MiB as a process; all finish, or are refused where the line is full."""
    run = subprocess.run([sys.executable, "-c", LOGINS, str(waiting)], capture_output=True, text=True, check=True, timeout=100)
    outcomes, peak = json.loads(run.stdout)

    assert len(outcomes) == 64
    assert outcomes.count("busy") in refused
    assert 200 < peak < 400  # MiB; the lower bound says that four were at work at once
    count("logins within 256 MiB", 64)


def in_thread(budget: Budget, memory: int = MIB) -> tuple[threading.Thread, threading.Event, threading.Event]:
    """Enter in a thread; return what says that it is in, and what lets it out."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with budget.admitted(memory):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, entered, leave


def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        time.sleep(0.001)
    pytest.fail("it did not happen")


def test_memory_and_cores_are_both_counted() -> None:
    """What fits by memory waits for a core, and the other way round."""
    for budget in (Budget(max_memory=8, max_running=1), Budget(max_memory=1, max_running=8)):
        first, entered, leave = in_thread(budget)
        assert entered.wait(5)
        second, entered_too, leave_too = in_thread(budget)
        until(lambda budget=budget: len(budget._line) == 1)  # type: ignore[misc]
        assert not entered_too.is_set()
        leave.set()
        assert entered_too.wait(5)
        leave_too.set()
        first.join()
        second.join()
        assert (budget._memory, budget._running) == (0, 0)


def test_nobody_overtakes() -> None:
    """Who came first is served first: a small one does not starve a large one."""
    budget = Budget(max_memory=4, max_running=8)
    first, entered, leave = in_thread(budget, 3 * MIB)
    assert entered.wait(5)
    large, large_entered, leave_large = in_thread(budget, 4 * MIB)
    until(lambda: len(budget._line) == 1)
    small, small_entered, leave_small = in_thread(budget, MIB)
    until(lambda: len(budget._line) == 2)

    leave.set()

    assert large_entered.wait(5)
    assert not small_entered.is_set()
    leave_large.set()
    assert small_entered.wait(5)
    leave_small.set()
    for thread in (first, large, small):
        thread.join()


def test_a_full_line_refuses_at_once() -> None:
    """The next one is told in microseconds, so that a service can answer 503."""
    budget = Budget(max_memory=64, max_waiting=0, max_running=1)
    hasher = PasswordHasher(fast_passwords, budget=budget)
    with budget.admitted(MIB):
        begin = time.perf_counter()
        with pytest.raises(PasswordBusyError, match="0 passwords are waiting"):
            hasher.verify("correct horse", hash=None)
        assert time.perf_counter() - begin < 0.1
        with pytest.raises(PasswordBusyError):
            asyncio.run(hasher.averify("correct horse", hash=None))
        with pytest.raises(PasswordBusyError):
            hasher.hash("correct horse battery staple")
    assert hasher.hash("correct horse battery staple")


def test_hashers_share_a_budget_object() -> None:
    """Two hashers of one budget count together; two without do not."""
    budget = Budget(max_waiting=0, max_running=1)
    one, other, apart = (PasswordHasher(fast_passwords, budget=given) for given in (budget, budget, None))

    assert one.budget is other.budget is budget
    with budget.admitted(MIB):
        with pytest.raises(PasswordBusyError):
            other.hash("correct horse battery staple")
        apart.hash("correct horse battery staple")


def test_an_error_gives_everything_back() -> None:
    """Whatever happens in the block, the next one fits."""
    budget = Budget(max_memory=1, max_waiting=0)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), budget.admitted(MIB):
            raise KeyboardInterrupt
    assert (budget._memory, budget._running) == (0, 0)


def test_an_interrupt_while_waiting_leaves_the_line() -> None:
    """Ctrl-C in a thread that waits takes it out of the line, and takes nothing from the budget."""
    budget = Budget(max_memory=1, max_running=1)
    thread, entered, leave = in_thread(budget)
    assert entered.wait(5)
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt), budget.admitted(MIB):
            pytest.fail("it was not its turn")
    finally:
        signal.signal(signal.SIGINT, handler)
    leave.set()
    thread.join()
    timer.join()

    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)


def test_coroutines_wait_without_threads() -> None:
    """A hundred logins that wait in one loop take no thread, and all end."""
    budget = Budget(max_memory=1, max_waiting=100, max_running=1)
    hasher = PasswordHasher(fast_passwords, budget=budget)

    async def logins() -> int:
        leave = await budget.aadmit(MIB)
        tasks = [asyncio.create_task(hasher.ahash("correct horse battery staple")) for _ in range(100)]
        await asyncio.sleep(0.05)
        threads, waiting = threading.active_count(), len(budget._line)
        leave()
        assert len(set(await asyncio.gather(*tasks))) == waiting == 100
        return threads

    before = threading.active_count()
    assert asyncio.run(logins()) == before
    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)


def test_a_cancelled_login_gives_everything_back() -> None:
    """Cancelled in line, at the moment of the grant, or at work: the budget is whole again afterwards."""
    budget = Budget(max_memory=64, max_running=1)
    hasher = PasswordHasher(budget=budget)

    async def cancelled(when: float, held: bool) -> None:
        leave = await budget.aadmit(MIB) if held else None
        task = asyncio.create_task(hasher.ahash("correct horse battery staple"))
        await asyncio.sleep(when)
        if leave:
            leave()  # which grants it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def in_line() -> None:
        leave = await budget.aadmit(MIB)
        task = asyncio.create_task(hasher.ahash("correct horse battery staple"))
        await asyncio.sleep(0.01)
        assert len(budget._line) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(budget._line) == 0
        leave()

    asyncio.run(in_line())
    asyncio.run(cancelled(0.01, held=True))
    asyncio.run(cancelled(0.03, held=False))
    until(lambda: (len(budget._line), budget._memory, budget._running) == (0, 0, 0))


def test_a_login_that_is_cancelled_before_a_thread_takes_it_gives_everything_back() -> None:
    """Granted, and still waiting for a thread of the loop's own: the budget is whole again once the thread was there."""
    budget = Budget(max_memory=64, max_running=1)
    blocked = threading.Event()

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        blocker = loop.run_in_executor(None, blocked.wait)
        task = asyncio.create_task(PasswordHasher(fast_passwords, budget=budget).ahash("correct horse"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        blocked.set()
        await blocker

    asyncio.run(cancelled())
    until(lambda: (budget._memory, budget._running) == (0, 0))


def test_a_loop_that_shuts_down_gives_everything_back() -> None:
    """A login that is granted when the loop takes no work any more fails, and holds nothing of a budget that others share."""
    budget = Budget(max_memory=64, max_running=1)

    async def late() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        await PasswordHasher(fast_passwords, budget=budget).ahash("correct horse battery staple")

    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(late())
    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)


def test_who_leaves_the_head_of_the_line_lets_the_next_one_in() -> None:
    """A login that waits for much memory and is cancelled does not keep those behind it, for whom there is room."""
    budget = Budget(max_memory=4, max_running=4)

    async def logins() -> None:
        leave = await budget.aadmit(MIB)
        large = asyncio.create_task(budget.aadmit(4 * MIB))
        small = asyncio.create_task(budget.aadmit(MIB))
        await asyncio.sleep(0.01)
        large.cancel()
        (await asyncio.wait_for(small, 5))()
        leave()

    asyncio.run(logins())
    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)


def test_a_loop_that_is_closed_while_somebody_waits_does_not_block_the_others() -> None:
    """A grant to a loop that is gone is no error in the thread that gives it."""
    budget = Budget(max_memory=1, max_running=1)
    loop = asyncio.new_event_loop()
    with budget.admitted(MIB):
        waiting = loop.create_task(budget.aadmit(MIB))
        loop.run_until_complete(asyncio.sleep(0.01))
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        abandoned = budget.aadmit(MIB)
        loop.call_soon(lambda: abandoned.send(None))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
    abandoned.close()

    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)


def test_garbage_that_waited_does_not_block_the_one_who_collects_it() -> None:
    """A coroutine that nobody finishes may be collected at any moment, also at one at which the budget is granted."""
    budget = Budget(max_memory=1, max_running=1)
    loop = asyncio.new_event_loop()
    leave = loop.run_until_complete(budget.aadmit(MIB))
    abandoned = budget.aadmit(MIB)
    loop.call_soon(lambda: budget._enter(MIB, abandoned.close))
    loop.call_soon(lambda: abandoned.send(None))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert (len(budget._line), budget._memory, budget._running) == (0, MIB, 1)


def test_a_forked_child_starts_with_a_whole_budget() -> None:
    """What the parent's threads hold at the fork is not missing in the child, and the parent's is as before."""
    budget = Budget(max_memory=64, max_waiting=0, max_running=1)
    hasher = PasswordHasher(fast_passwords, budget=budget)
    with budget.admitted(64 * MIB):
        child = os.fork()
        if child == 0:
            try:
                hasher.hash("correct horse battery staple")
            except BaseException:  # noqa: BLE001 - whatever it is, the parent is told by the code
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(PasswordBusyError):
            hasher.hash("correct horse battery staple")
    assert hasher.hash("correct horse battery staple")


def test_a_child_that_leaves_the_parents_block_owes_nothing() -> None:
    """A fork within the block: the child's budget does not become larger than it is."""
    budget = Budget(max_memory=1, max_running=1)
    with budget.admitted(MIB):
        child = os.fork()
        if child == 0:
            with budget.admitted(MIB):
                pass
    if child == 0:
        os._exit(0 if (budget._memory, budget._running) == (0, 0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (budget._memory, budget._running) == (0, 0)


@pytest.mark.repetitive
def test_many_threads_never_exceed_it(count: Count) -> None:
    """Whatever comes when, the sum of what is granted stays within the budget."""
    budget = Budget(max_memory=10, max_waiting=1000, max_running=3)
    lock, held, peak = threading.Lock(), [0, 0], [0, 0]

    def work(number: int) -> None:
        memory = (number * 7919 % 10 + 1) * MIB
        with budget.admitted(memory):
            with lock:
                held[0] += memory
                held[1] += 1
                peak[:] = map(max, zip(peak, held, strict=True))
            time.sleep(0.0001)
            with lock:
                held[0] -= memory
                held[1] -= 1

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(2000)))
    assert peak[0] <= 10 * MIB
    assert peak[1] == 3
    assert (len(budget._line), budget._memory, budget._running) == (0, 0, 0)
    count("admissions to a budget", 2000)


@pytest.mark.parametrize("numbers", [{"max_memory": 0}, {"max_waiting": -1}, {"max_running": 0}])
def test_a_budget_of_nothing_is_refused(numbers: dict[str, int]) -> None:
    """Nobody could ever log in."""
    with pytest.raises(ValueError, match="must be at least"):
        Budget(**numbers)


def test_a_budget_knows_the_cores_that_the_process_may_use() -> None:
    """As many work at once as there are cores, if nothing else is said."""
    assert 1 <= Budget().max_running <= (os.cpu_count() or 1)
