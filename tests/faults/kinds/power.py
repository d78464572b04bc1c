"""The power goes: what was promised must be there when it is back. (The disks are files on loop devices; engine/disk.py.)"""

import threading
import time

from engine.bench import CLIENT, SOON, SOON_AGENT, UNREACHABLE, Skipped
from engine.disk import Disk
from engine.judge import judge_stored, receipt_claims, stored_state
from engine.sender import Sender, judge_promises
from harness.house import command_payload
from harness.waiting import NotYet, wait_until

SENDERS = 3


def need(bench, kind):
    reason = Disk.why_not(kind, bench.folder)
    if reason:
        raise Skipped(reason)
    return Disk(bench.folder, kind)


def receiver_on(kind):
    """Uploads run; the power goes at a random moment, or right after a 201 or a receipt."""
    def run(bench):
        disk = need(bench, kind)
        house = bench.make_house()
        house.store = disk.mount_point / "store"
        try:
            house.start_broker()
            house.start_receiver(SOON)
            observer = house.observer(subscribe=["beckon/v1/+/receipt/+"])
            promised = []
            for _ in bench.rounds():
                promised += one_receiver_cut(bench, house, disk, observer)
            for upload in promised[-2000:]:
                if stored_state(house, upload) != "whole":
                    bench.tally.count("lost", f"{upload} was there after its own power cut, and is gone since")
        finally:
            close_all(bench, house, disk)
    return run


def one_receiver_cut(bench, house, disk, observer):
    """Returns the uploads that are complete in the end."""
    trigger = bench.rng.choice(["moment", "201", "receipt"])
    struck = threading.Event()
    uploads, threads = [], []
    heard = len(observer.messages)
    for _ in range(SENDERS):
        mine = [Sender(house).new(bench.data(200_000)) for _ in range(6)]
        uploads += mine
        threads.append(threading.Thread(target=send_until, args=(house, mine, struck)))
    for thread in threads:
        thread.start()
    wait_for_trigger(bench, trigger, uploads, observer, heard)
    disk.cut_power()
    struck.set()
    house.receiver.kill()
    bench.tally.injected += 1
    for thread in threads:
        thread.join()
    receipt_claims(house, observer, uploads)
    disk.restore_power()
    house.receiver.start()
    return judge_after_cut(bench, house, uploads)


def send_until(house, uploads, struck):
    sender = Sender(house)
    for upload in uploads:
        if struck.is_set():
            return
        upload.begun = True
        sender.put(upload)


def wait_for_trigger(bench, trigger, uploads, observer, heard):
    wanted = bench.rng.randrange(1, 6)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if trigger == "moment":
            bench.sleep(0.08)
            return
        if trigger == "201" and sum(len(upload.claims) for upload in uploads) >= wanted:
            return
        if trigger == "receipt" and len(observer.messages) >= heard + wanted:
            return
        time.sleep(0.0005)


def judge_after_cut(bench, house, uploads):
    """What was promised must be there; the rest must be able to go on, except a few that nobody comes back for."""
    sender = Sender(house)
    done = []
    for upload in [upload for upload in uploads if upload.begun]:
        fault = sender.prefix_fault(upload)
        if fault:
            bench.tally.count("wrong", fault)
        judge_promises(bench.tally, house, upload)
        if stored_state(house, upload) != "whole" and bench.rng.random() < 0.7:
            answer = sender.finish(upload)
            if answer is None or answer.status not in (200, 201, 204) or stored_state(house, upload) != "whole":
                bench.tally.count("wrong", f"{upload} can't be finished after the power cut: {answer}")
        if stored_state(house, upload) == "whole":
            done.append(upload)
    return done


def close_all(bench, house, disk):
    try:
        for daemon in house.daemons:
            if daemon.alive():
                daemon.kill()
            daemon.faults.clear()
        house.daemons.clear()
        house.close()
    finally:
        disk.close()


def agent_on(kind):
    """What the agent has accepted it does after the power is back, though nobody asks a second time."""
    def run(bench):
        disk = need(bench, kind)
        house = bench.make_house()
        try:
            house.start_broker()
            house.start_receiver(SOON)
            config = {**SOON_AGENT, "agent": {**SOON_AGENT["agent"], "state_dir": disk.mount_point / "state"}}
            agent = house.start_agent(CLIENT, config)
            observer = house.observer()
            for number in bench.rounds():
                one_agent_cut(bench, house, disk, agent, observer, number)
        finally:
            close_all(bench, house, disk)
    return run


def one_agent_cut(bench, house, disk, agent, observer, number):
    sender = Sender(house)
    uploads = [sender.new(bench.data(100_000)) for _ in range(3)]
    for index, upload in enumerate(uploads):
        path = agent.file(f"power{number}-{index}", upload.data)
        observer.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload.id}", command_payload(path))
    if bench.rng.random() < 0.7:
        topic = f"beckon/v1/{CLIENT}/status/{bench.rng.choice(uploads).id}"
        wait_until(lambda: observer.on(topic), "a status", 10, every_s=0.0005)
    else:
        bench.sleep(0.05)
    disk.cut_power()
    agent.kill()
    bench.tally.injected += 1
    accepted = [upload for upload in uploads if any(status["state"] in ("accepted", "running", "done")
                                                    for status in observer.on(f"beckon/v1/{CLIENT}/status/{upload.id}"))]
    disk.restore_power()
    agent.start()
    for upload in accepted:
        judge_accepted(bench, house, observer, upload)
    for upload in uploads:
        if upload not in accepted:
            bench.tally.count("honest")


def judge_accepted(bench, house, observer, upload):
    try:
        observer.wait_for(f"beckon/v1/{CLIENT}/receipt/{upload.id}", timeout_s=30)
        judge_stored(bench.tally, house, upload, "completed")
    except NotYet:
        bench.tally.count("lost", f"{upload} was accepted before the power cut, and is forgotten")


def coordinator_on(kind):
    """A request that was taken, and a completion that was told, are in the database after the power is back."""
    def run(bench):
        disk = need(bench, kind)
        house = bench.make_house()
        try:
            house.start(agent=SOON_AGENT, receiver=SOON,
                        coordinator={**SOON, "requests": {"republish": "1s"},
                                     "coordinator": {"database": disk.mount_point / "coordinator.db"}})
            for _ in bench.rounds():
                one_coordinator_cut(bench, house, disk)
        finally:
            close_all(bench, house, disk)
    return run


def one_coordinator_cut(bench, house, disk):
    uploads = [bench.ask(house, bench.data(50_000)) for _ in range(bench.rng.randrange(1, 4))]
    bench.sleep(0.06)
    told = {upload.id: status_now(house, upload) for upload in uploads}
    disk.cut_power()
    house.coordinator.kill()
    bench.tally.injected += 1
    disk.restore_power()
    house.coordinator.start()
    for upload in uploads:
        now = status_now(house, upload)
        if now is None:
            bench.tally.count("lost", f"{upload} was taken with a 202, and its row is gone")
        elif told[upload.id] == "completed" and now != "completed":
            bench.tally.count("lost", f"{upload} was told as completed, and is {now} after the power cut")
    bench.settle(house, [upload for upload in uploads if status_now(house, upload)])


def status_now(house, upload):
    try:
        row = house.request_row(upload.id)
    except UNREACHABLE:
        return None
    return row["status"] if row else None


KINDS = {
    "power.receiver on ext4": (receiver_on("ext4"), 12, 130),
    "power.receiver on xfs": (receiver_on("xfs"), 12, 110),
    "power.agent on ext4": (agent_on("ext4"), 8, 50),
    "power.coordinator on ext4": (coordinator_on("ext4"), 5, 30),
}
