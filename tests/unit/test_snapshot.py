"""What chunks tell, added up: by stage, by host, over the last minute."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from darkroom.live.snapshot import RECENT_S, pace, take, unpacked
from darkroom.live.told import ChunkNow, Counts, PlanNow, packed

NOW = 1_800_000_000.0
counts = st.integers(0, 1000)
ages = st.floats(0, 1000).map(lambda age: round(NOW - age, 3))


@st.composite
def chunks(draw):
    done, rejected, failed, more = (draw(counts) for _ in range(4))
    begun, updated = sorted([draw(ages), draw(ages)])
    return ChunkNow(
        items=done + rejected + failed + more, done=done, rejected=rejected, failed=failed,
        host=draw(st.sampled_from(["generate-1@a", "generate-2@b"])),
        state=draw(st.sampled_from(["running", "paused", "stopped", "ended"])),
        reason=draw(st.sampled_from(["", "draining"])), busy_s=draw(st.integers(0, 100)) / 8,
        reused=draw(st.integers(0, done)), begun=begun, updated=updated,
    )  # fmt: skip


told = st.dictionaries(
    st.tuples(st.sampled_from(["generate", "inspect"]), st.sampled_from(["00001", "00002", "r1-00001"])),
    chunks(),
)


@given(told)
def test_what_is_kept_is_read_back_as_it_was(chunks):
    fields = {f"{stage}/{chunk_id}": packed(chunk) for (stage, chunk_id), chunk in chunks.items()}
    plans = [PlanNow("A_C", 9, 1, 3, 1, begun=NOW), PlanNow("A_C", 2, round=1, begun=NOW)]
    fields |= {f"plan/{plan.round}": packed(plan) for plan in plans} | {"end": json.dumps(["failed", NOW])}
    seen = unpacked(fields, NOW)
    assert seen == take(plans, [(*key, chunk) for key, chunk in chunks.items()], "failed", NOW)
    assert (seen.items, seen.rejects, seen.flow, seen.ended) == (9, 1, "A_C", "failed")


@given(told)
def test_stages_and_hosts_are_two_sums_over_the_same_chunks(chunks):
    seen = take([], [(*key, chunk) for key, chunk in chunks.items()], seen=NOW)
    for stage in ("generate", "inspect"):
        by_stage = seen.stages.get(stage, Counts()) + seen.respins.get(stage, Counts())
        hosts = [host for host in seen.hosts if host.stage == stage]
        assert by_stage == sum((host.counts for host in hosts), Counts())
        assert seen.in_flight.get(stage, 0) == sum(host.in_flight for host in hosts)
        assert sum(host.computed for host in hosts) >= 0


@given(told, st.integers(0, 10_000))
def test_an_item_is_finished_with_left_over_or_remains(chunks, planned):
    seen = take([PlanNow("A_C", planned)], [(*key, chunk) for key, chunk in chunks.items()], seen=NOW)
    for name in ("generate", "inspect"):
        first = [chunk for (stage, i), chunk in chunks.items() if stage == name and not i.startswith("r")]
        settled = sum(chunk.items if chunk.state == "ended" else chunk.counts.total for chunk in first)
        assert seen.remaining(name) == max(0, planned - settled)


def test_the_bar_is_the_first_round_and_what_remains_is_all_rounds():
    first = ChunkNow(10, 7, 2, 1, "g", "ended")
    again = ChunkNow(3, 1, 0, 0, "g", "running")
    plans = [PlanNow("A", 10), PlanNow("A", 3, round=1)]
    seen = take(plans, [("generate", "00000", first), ("generate", "r1-00000", again)])
    assert seen.stages["generate"].total == 10
    assert seen.respins["generate"].total == 1
    assert (seen.remaining("generate"), seen.in_flight["generate"]) == (2, 2)


def test_what_a_chunk_that_failed_for_good_left_is_counted_once_by_the_round_that_plans_it_again():
    chunks = [
        ("generate", "00000", ChunkNow(10, 8, 0, 0, "g", "ended", begun=NOW - 50, updated=NOW - 30)),
        ("generate", "00001", ChunkNow(10, 4, 0, 0, "bad", "running", begun=NOW - 50, updated=NOW - 30)),
        ("inspect", "00000", ChunkNow(8, 8, 0, 0, "g", "ended", begun=NOW - 50, updated=NOW - 30)),
    ]  # of 00001, which failed, `inspect` has never said anything
    plans = [PlanNow("A_C", 20, begun=NOW - 60), PlanNow("A_C", 8, round=1, begun=NOW - 20)]
    seen = take(plans, chunks, seen=NOW)
    assert (seen.remaining("generate"), seen.remaining("inspect")) == (8, 8)
    assert seen.in_flight == {"generate": 0, "inspect": 0}
    assert all(not host.chunks for host in seen.hosts)
    chunks += [
        (stage, "r1-3fa94be1-00000", ChunkNow(8, 8, 0, 0, "g", "ended", begun=NOW - 9, updated=NOW))
        for stage in ("generate", "inspect")
    ]
    seen = take(plans, chunks, seen=NOW)
    assert (seen.remaining("generate"), seen.remaining("inspect")) == (0, 0)


def test_a_retry_takes_the_first_round_up_again():
    chunks = [
        ("generate", "00000", ChunkNow(10, 4, 0, 0, "g", "running", begun=NOW, updated=NOW)),
        ("generate", "r1-3fa94be1-00000", ChunkNow(6, 1, 0, 0, "g", "stopped", begun=NOW - 50, updated=NOW)),
    ]
    plans = [PlanNow("A", 10, begun=NOW), PlanNow("A", 6, round=1, begun=NOW - 60)]
    seen = take(plans, chunks, seen=NOW)
    assert (seen.remaining("generate"), seen.in_flight["generate"]) == (6, 6)


def test_a_host_does_what_its_running_chunks_say_and_remembers_why_others_were_put_back():
    chunks = [
        ("generate", "00000", ChunkNow(10, 4, 0, 0, "g", "running", begun=NOW - 20, updated=NOW)),
        ("generate", "00001", ChunkNow(30, 2, 0, 0, "g", "running", begun=NOW - 20, updated=NOW)),
        ("generate", "00002", ChunkNow(10, 2, 0, 0, "g", "stopped", "g is loading", updated=NOW)),
    ]
    (host,) = take([], chunks, seen=NOW).hosts
    assert host.chunks == ("00000", "00001")
    assert (host.in_flight, host.largest_chunk, host.reasons) == (34, 28, ("g is loading",))


@given(st.lists(chunks(), max_size=5))
def test_a_pace_is_never_negative_nor_faster_than_all_its_chunks_together(chunks):
    per_s, over_s = pace(chunks, NOW)
    assert per_s >= 0
    assert 0 <= over_s <= RECENT_S + 1e-6
    most = sum(
        chunk.counts.total / max(1e-3, (NOW if chunk.state == "running" else chunk.updated) - chunk.begun)
        for chunk in chunks
    )
    assert per_s <= most * 1.001 + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 4))
def test_lanes_side_by_side_add_up_and_what_existed_already_does_not_count(per_s, lanes):
    chunk = ChunkNow(
        10**6, round(per_s * 600) + 50, 0, 0, "g", "running", reused=50, begun=NOW - 600, updated=NOW
    )
    found, over_s = pace([chunk] * lanes, NOW)
    assert abs(found - lanes * round(per_s * 600) / 600) < 1e-6
    assert over_s == RECENT_S


def test_a_host_that_hangs_gets_slower_with_every_look():
    chunk = ChunkNow(100, 50, 0, 0, "g", "running", begun=NOW - 50, updated=NOW)
    paces = [pace([chunk], NOW + later)[0] for later in (0, 50, 500)]
    assert paces == sorted(paces, reverse=True)
    assert paces[-1] < paces[0] / 5


def test_fields_of_another_version_are_left_out_and_new_ones_at_the_end_do_no_harm():
    chunk = ChunkNow(10, 4, 0, 0, "g", "running", begun=NOW, updated=NOW)
    newer = json.dumps([*json.loads(packed(chunk)), "something new"])
    older = json.dumps({"done": 3, "rejected": 0, "failed": 0})
    seen = unpacked({"generate/00000": newer, "generate/00001": older}, NOW)
    assert seen.stages == {"generate": Counts(4)}


def test_ten_thousands_of_chunks_are_one_look():
    fields = {
        f"generate/{n:05d}": packed(ChunkNow(180, 180, 0, 0, f"g{n % 10}", "ended")) for n in range(12_000)
    }
    fields["plan/0"] = packed(PlanNow("A", 12_000 * 180, chunks=12_000, shards=47))
    seen = unpacked(fields)
    assert seen.stages["generate"].done == seen.items == 12_000 * 180
    assert len(seen.hosts) == 10
    assert asdict(seen)["plans"][0]["shards"] == 47
