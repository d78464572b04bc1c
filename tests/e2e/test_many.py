"""Many devices at once."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from harness.waiting import SANITIZED

AGENTS, FILES = (5, 3) if SANITIZED else (20, 5)


def test_20_agents_with_5_files_each_asked_at_once_all_arrive(house):
    names = [f"restaurant_{number}" for number in range(1, AGENTS + 1)]
    house.start(agents=names)
    contents = {(name, number): os.urandom(1000 + 40000 * number) for name in names for number in range(FILES)}
    paths = {key: house.agents[key[0]].file(f"file-{key[1]}", data) for key, data in contents.items()}
    with ThreadPoolExecutor(16) as pool:
        ids = dict(zip(paths, pool.map(lambda key: house.ask(key[0], paths[key]), paths)))
    assert len(set(ids.values())) == AGENTS * FILES
    for key, request_id in ids.items():
        row = house.wait_status(request_id, "completed", "failed", "rejected", "cancelled", timeout_s=60)
        assert row["status"] == "completed", row
        assert row["sha256"] == hashlib.sha256(contents[key]).hexdigest()
        assert house.stored(key[0], request_id).read_bytes() == contents[key]
    assert len(house.stored_files()) == AGENTS * FILES
