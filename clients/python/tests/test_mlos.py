"""The package against a daemon whose socket $MLOS_TEST_SOCKET names, with the models of the Rust client's tests."""

import asyncio
import gc
import os
import threading

import mlos
import numpy as np
import pytest

SOCKET = os.environ["MLOS_TEST_SOCKET"]


@pytest.fixture
def client():
    with mlos.connect(SOCKET, name="pytest", timeout=60) as connected:
        yield connected


def address(array):
    return array.__array_interface__["data"][0]


def test_a_model_tells_its_tensors(client):
    model = client.open("t/double")
    assert (model.id, model.version) == ("t/double", "1")
    assert model.inputs == {"x": mlos.TensorInfo("x", np.float32, (None, 4))}
    assert list(model.outputs) == ["y"]


def test_arrays_are_the_shared_memory(client):
    with client.infer("t/double", rows=3) as r:
        x = r.inputs["x"]
        assert x.shape == (3, 4) and x.dtype == np.float32 and not x.any()
        r.inputs["x"][:] = np.arange(12).reshape(3, 4)
        assert r.inputs["x"] is x
        before = address(r.outputs["y"])
        y = r.run()["y"]
        assert (y == 2 * np.arange(12).reshape(3, 4)).all()
        # The daemon wrote where the array was before, and a second run shows in the first's array.
        assert address(y) == before
        r.inputs["x"] = 1
        r.run()
        assert (y == 2).all() and r.outputs["y"] is y
        assert not x.flags.owndata and not y.flags.owndata
        assert address(x) % 64 == 0 and address(y) % 64 == 0
        # Both lie in one mapping of a memory file.
        maps = [line.split() for line in open("/proc/self/maps") if "memfd:mlos" in line]
        spans = [tuple(int(end, 16) for end in fields[0].split("-")) for fields in maps]
        assert any(low <= address(x) < high and low <= address(y) < high for low, high in spans)


def test_arrays_outlive_their_request(client):
    r = client.infer("t/double")
    x = r.inputs["x"]
    x[:] = 7
    r.close()
    gc.collect()
    others = [client.infer("t/double") for _ in range(8)]
    for other in others:
        other.inputs["x"][:] = 9
    assert (x == 7).all()
    with pytest.raises(mlos.Conflict):
        r.run()


def test_terms_and_timing(client):
    with client.infer("t/double") as r:
        assert r.timing is None
        r.run()
        assert r.timing.job_class == "normal" and r.timing.compute_ns == 1500
        r.run(job_class="realtime", deadline=0.002, degrade=True)
        # The test's daemon gives the deadline and on_miss back in other words.
        assert r.timing == mlos.Timing("realtime", 2000, 1500, 1, 1)
        with pytest.raises(ValueError, match="there is no class 'urgent'"):
            r.run(job_class="urgent")


def test_errors_have_kinds_and_words(client):
    with pytest.raises(LookupError, match="there is no model t/none") as caught:
        client.infer("t/none")
    assert isinstance(caught.value, mlos.NotFound) and caught.value.kind == "not_found"
    with client.infer("t/fail") as r, pytest.raises(mlos.ModelFailed, match="on strike"):
        r.run()
    with pytest.raises(mlos.InvalidArgument, match=r"which \[1, 5\] is not"):
        client.infer("t/double", dims={"x": [1, 5]})
    with pytest.raises(ConnectionError, match="nonexistent"):
        mlos.connect("/nonexistent")
    with pytest.raises(mlos.Unsupported):
        mlos.connect(SOCKET, name="unwanted")
    with client.infer("t/double", without=["y"]) as r:
        assert list(r.run()) == []
        with pytest.raises(KeyError):
            r.outputs["y"]


def test_an_output_of_any_shape(client):
    with client.infer("t/shape", capacity={"y": 400}, dims={"y": [1]}) as r:
        for elements in (1, 5, 0, 100):
            r.inputs["x"][:] = [elements, 0.5]
            y = r.run()["y"]
            assert y.shape == (elements,) and (y == 0.5).all()


def test_strings(client):
    with client.infer("t/text", rows=3) as r:
        r.set_strings("x", ["a", b"b\0c", "ünï"])
        r.run()
        assert r.strings("y") == ["ünï".encode(), b"b\0c", b"a"]
        with pytest.raises(ValueError, match="3 elements, not 1"):
            r.set_strings("x", ["a"])
        with pytest.raises(ValueError, match="holds strings"):
            r.inputs["x"]
        with pytest.raises(mlos.NotFound):
            r.strings("z")


def test_many_in_flight(client):
    held = [client.infer("t/hold") for _ in range(3)]
    for n, r in enumerate(held):
        r.inputs["x"][:] = n
        r.submit()
    assert not any(r.is_done() for r in held)
    with pytest.raises(mlos.Conflict, match="in flight"):
        held[0].submit()
    held[0].cancel()
    with pytest.raises(mlos.Cancelled):
        held[0].wait()
    with client.infer("t/release") as release:
        release.submit()
        assert client.wait_any([*held[1:], release]) in (*held[1:], release)
        release.wait()
    assert [r.wait(timeout=1)["y"][0, 0] for r in held[1:]] == [2, 4]


def test_asyncio(client):
    async def ask(n):
        with client.infer("t/double") as r:
            for round_ in range(50):
                r.inputs["x"][:] = 100 * n + round_
                assert (await r.arun())["y"][0, 3] == 2 * (100 * n + round_)

    async def main():
        await asyncio.gather(*(ask(n) for n in range(6)))
        held, release = client.infer("t/hold"), client.infer("t/release")
        task = asyncio.create_task(held.arun())
        await asyncio.sleep(0)
        await release.arun()
        await task
        # A task that gives up gets its memory back, as the request is cancelled with it.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(held.arun(), 0.01)
        held.inputs["x"][:] = 1
        with client.infer("t/fail") as r, pytest.raises(mlos.ModelFailed):
            await r.arun()
        with client.infer("t/die") as r, pytest.raises(mlos.Unavailable):
            await r.arun()

    asyncio.run(main())
    client.reconnect()
    asyncio.run(ask(1))


def test_threads_that_share_a_client_take_turns(client):
    wrong = []

    def ask(n):
        with client.infer("t/double") as r:
            for round_ in range(100):
                r.inputs["x"][:] = 1000 * n + round_
                if r.run()["y"][0, 0] != 2 * (1000 * n + round_):
                    wrong.append((n, round_))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_daemon_that_goes(client):
    r = client.infer("t/farewell")
    with pytest.raises(ConnectionError, match="you asked for it"):
        r.run()
    with pytest.raises(mlos.Unavailable):
        client.infer("t/double")
    client.reconnect()
    with client.infer("t/double") as again:
        again.run()
