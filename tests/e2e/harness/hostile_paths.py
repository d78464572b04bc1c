"""Ways to a file that must not leave a device: what is planted on the device, and what is asked for.

A Case is one command. wanted is the set of reasons of which one must come back, SENT if the file must arrive (whole, with its
own content), or ANYTHING if only the canary counts."""

import json
import os
import socket
import stat
from collections import namedtuple

Case = namedtuple("Case", "group agent payload wanted content", defaults=(None,))

SENT, ANYTHING = "sent", "anything"
NOT_ALLOWED = {"PATH_NOT_ALLOWED"}
NOT_THERE = {"FILE_NOT_FOUND"}
UNREADABLE = {"INVALID_COMMAND"}  # the command itself is none
NO_WAY = NOT_ALLOWED | NOT_THERE | UNREADABLE | {"PATH_TOO_LONG"}

# What somebody might take for ".." or for a "/", or expand into one.
DOTS = ["..", "%2e%2e", "%2E%2E", "%252e%252e", ".%2e", "%2e.", "..%00", "..%20", "..;", "..\\", "\\..", "...", "....", "..:", ". .",
        ".. ", " ..", "..\t", "..\n", "..\r", "..\x01", "..\x7f", "..\x1b[2J", "..\u200b", "\u202e..", "\ufeff..", "\u2024\u2024",
        "\u2025", "\uff0e\uff0e", "\u3002\u3002", "%c0%ae%c0%ae", "%uff0e%uff0e", "&#46;&#46;", "\\x2e\\x2e", "\\056\\056", "=2E=2E",
        "~", "~root", "$HOME", "$(echo ..)", "`echo ..`", "*", "?", "[.][.]", "{..,.}"]
SLASHES = ["/", "//", "/./", "\\", "%2f", "%2F", "%252f", "%5c", "\u2215", "\u2044", "\uff0f", "\u29f8"]
KERNEL = ["/proc/self/environ", "/proc/self/root{canary}", "/proc/thread-self/root{canary}", "/proc/{pid}/root{canary}",
          "/proc/self/cwd/{client}/secret/canary", "/proc/{pid}/cwd/{client}/secret/canary", "/proc/{pid}/environ", "/proc/1/environ",
          "/proc/self/exe", "/proc/self/maps", "/proc/self/mem", "/proc/kcore", "/proc/kmsg", "/proc/version", "/proc/./version",
          "//proc//version", "/proc", "/proc/", "/sys", "/sys/kernel/uevent_seqnum", "/sys/kernel/../kernel/uevent_seqnum", "/dev",
          "/dev/null", "/dev/zero", "/dev/urandom", "/dev/mem", "/dev/stdin", "/dev/tty", "/dev/pts/ptmx", "/dev/shm/{shm}",
          "/dev/./shm/{shm}", *[f"/proc/self/fd/{fd}" for fd in range(16)], *[f"/dev/fd/{fd}" for fd in range(16)],
          *[f"/proc/{{pid}}/fd/{fd}" for fd in range(16)], "/proc/{pid}/task/{pid}/root{canary}", "/proc/self/map_files",
          "/proc/self/ns/mnt", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"]
KERNEL_TARGETS = ["/proc/self/root", "/proc/self/cwd", "/proc/1/root", "/proc/self/fd/0", "/proc/self/environ", "/dev/fd", "/dev/stdin"]


class Device:
    """An agent and what was planted on it. The canary is in home/secret, and in whatever else must not leave."""

    def __init__(self, agent, canary):
        self.agent, self.home, self.files, self.name = agent, agent.home, agent.files, agent.client
        self.bytes = canary
        self.canary = self.plant(self.home / "secret" / "canary")

    def plant(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes)
        return path

    def good(self, name):
        """A file that may leave, with content of its own."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"good " + os.fsencode(name) + b"\n")
        return path

    def link(self, name, target):
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return path

    def case(self, group, path, wanted, content=None):
        return Case(group, self.name, json.dumps({"path": str(path)}).encode(), wanted, content)

    def raw(self, group, payload, wanted=NO_WAY):
        return Case(group, self.name, payload, wanted)


def case_sent(device, group, path, content=None):
    content = content if content is not None else (device.files / path).read_bytes()
    return device.case(group, path, SENT, content)


def traversals(device):
    files = device.files
    device.good("sub/x")
    for slash in SLASHES:
        for dots in ("..", "%2e%2e", "..\\", "\uff0e\uff0e"):
            yield device.case("traversal", f"{files}/" + slash.join([dots, "secret", "canary"]), NO_WAY)
    for dots in DOTS:
        yield device.case("traversal", f"sub/{dots}/{dots}/secret/canary", NO_WAY)
        for start in ("", f"{files}/"):
            for depth in (1, 7):
                yield device.case("traversal", start + f"{dots}/" * depth + "secret/canary", NO_WAY)
    for ending in ("..", "/..", "/../", "/.", "/../..", "/../" * 20, "/sub/..", "/sub/../x"):
        yield device.case("traversal", f"{files}{ending}", NOT_ALLOWED | {"NOT_A_REGULAR_FILE"})


def spellings(device):
    """Of what is outside: every one is seen through. Of what is inside: every one is the same file."""
    canary, files = str(device.canary), str(device.files)
    device.plant(device.home / "files-of-another" / "canary")
    device.plant(device.home / "files " / "canary")
    device.plant(device.home / "files\n" / "canary")
    device.good("plain")
    for path in (canary, "/" + canary, "//" + canary[1:], canary + "/", canary + "//", canary + "/.", canary.replace("/", "//"),
                 canary.replace("/", "/./"), "/." + canary, "/" * 2000 + canary[1:], "/." * 1500 + canary, canary.upper(),
                 f"{files}-of-another/canary", f"{files} /canary", f"{files}\n/canary", f"{files}/ ../secret/canary", "/etc/passwd",
                 "/etc/shadow", "/", "//", "/.", ".", "./", "..", "...", "~/canary", "~root/canary", "$HOME/canary", "file://" + canary,
                 files.upper() + "/plain", files.title() + "/plain", "PLAIN", "Plain", "plain ", " plain", "plain.", "plain\n",
                 "plain\u200b", "pl\u0430in", "plain;/etc/passwd", "plain|/etc/passwd", "plain\\", "plain:$DATA", "plain%00",
                 "*", "pl*", "pl?in", "plain/x", "plain/../plain", files, files + "/", str(device.home), "C:\\canary",
                 "\\\\host\\share\\canary"):
        yield device.case("spelling", path, NO_WAY | {"NOT_A_REGULAR_FILE"})
    for path in ("plain", "./plain", "././/plain", "plain/", "plain/.", "plain//", f"{files}/plain", f"/{files}//plain",
                 f"/.{files}/./plain", "/" * 2000 + f"{files}/plain"):
        yield case_sent(device, "spelling", path, (device.files / "plain").read_bytes())


def lengths(device):
    device.good("far/" + "/".join(["d"] * 200) + "/x")
    for path in ("a" * 256, "a" * 4095, "a" * 4096, "a" * 12000, "a/" * 2000 + "x", "./" * 2000 + "../secret/canary", "\u00e9" * 300,
                 "sub/" + "b" * 256, "/" + "c" * 4094, f"{device.files}/" + "d/" * 2500, "x" * 255, "\x01" * 2000, "\\" * 3000):
        yield device.case("length", path, NO_WAY | {"PATH_TOO_LONG"})
    yield case_sent(device, "length", "far/" + "/".join(["d"] * 200) + "/x")


def encodings(device):
    """Bytes that a JSON parser or a C string might take for something else."""
    files = os.fsencode(device.files)
    canary = os.fsencode(device.canary)
    overlong = [b"\xc0\xae", b"\xe0\x80\xae", b"\xf0\x80\x80\xae", b"\xf8\x80\x80\x80\xae", b"\xc0\xaf"]
    broken = [b"\xff", b"\xfe", b"\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\\ud800", b"\\udc00x", b"\\u0000", b"\x00"]
    for dot in overlong:
        yield device.raw("encoding", b'{"path":"' + files + b"/" + dot * 2 + b'/secret/canary"}')
        yield device.raw("encoding", b'{"path":"' + dot * 2 + b'/secret/canary"}')
    for odd in broken:
        for text in (b"%s", b"../secret/canary%s", b"sub%s/../../secret/canary", b"%s/etc/passwd", b"plain%s"):
            yield device.raw("encoding", b'{"path":"' + text.replace(b"%s", odd) + b'"}')
        yield device.raw("encoding", b'{"path":"' + canary + odd + b'"}')
    for text in (b"\\u002e\\u002e/secret/canary", b"..\\/secret\\/canary", b"\\u002e.\\u002fsecret\\u002fcanary",
                 b"\\uff0e\\uff0e/secret/canary"):
        yield device.raw("encoding", b'{"path":"' + text + b'"}')
    for payload in (b"", b"{}", b"null", b"[]", b'"' + canary + b'"', canary, b'{"path":null}', b'{"path":5}', b'{"path":[]}',
                    b'{"path":{}}', b'{"path":""}', b'{"path":["' + canary + b'"]}', b'{"Path":"' + canary + b'"}',
                    b"{'path':'" + canary + b"'}", b'{"path":"' + canary, b'{"path":"' + canary + b'"', b"\xef\xbb\xbf" b'{"path":"x"',
                    b'{"path":"' + canary + b'","path":"plain"}'):
        yield device.raw("encoding", payload)
    yield device.raw("encoding", b'{"path":"plain","path":"' + canary + b'"}', ANYTHING)


def links(device, follows=False):
    """Every one leads to the canary, or nowhere; but those that stay inside are for follow_symlinks to allow."""
    outside = {"relative-file": "../secret/canary", "absolute-file": device.canary, "round-file": "../files/../secret/canary",
               "up-file": "../" * 40 + str(device.canary)[1:], "slashes-file": str(device.canary).replace("/", "//"),
               "dots-file": "./.././secret/./canary", "inside-out-file": "sub/../../secret/canary"}
    folders = {"relative-folder": "../secret", "absolute-folder": device.canary.parent, "home": "..", "absolute-home": device.home,
               "root": "/", "slashed-folder": "../secret/"}
    below = {"relative-folder": "canary", "absolute-folder": "canary", "home": "secret/canary", "absolute-home": "secret/canary",
             "root": str(device.canary)[1:], "slashed-folder": "canary"}
    device.good("sub/x")
    for name, target in outside.items():
        yield device.case("link", device.link(name, target), NOT_ALLOWED)
        yield device.case("link", f"{name}/", NOT_ALLOWED)
        yield device.case("link", device.link(f"l1/{name}", target if os.path.isabs(target) else f"../{target}"), NOT_ALLOWED)
    for name, target in folders.items():
        device.link(name, target)
        yield device.case("link", name, NOT_ALLOWED)
        yield device.case("link", f"{name}/{below[name]}", NOT_ALLOWED)
        yield device.case("link", f"{name}/./{below[name]}/.", NOT_ALLOWED)
        yield device.case("link", f"sub/../{name}/{below[name]}", NOT_ALLOWED)
    for length in (2, 3, 5, 10, 39, 40, 41, 100):
        for kind, end in (("file", "../secret/canary"), ("folder", "../secret"), ("absolute", device.canary)):
            target = end
            for number in range(length):
                target = device.link(f"chain-{kind}-{length}-{number}", target).name
            yield device.case("link", target + ("/canary" if kind == "folder" else ""), NOT_ALLOWED)
    yield from loops(device)
    for target in KERNEL_TARGETS:
        name = "kernel" + target.replace("/", "-")
        device.link(name, target)
        for rest in ("", str(device.canary), "/0", f"/{device.name}/secret/canary"):
            yield device.case("link", name + rest, NOT_ALLOWED)
    yield from inside_links(device, follows)


def loops(device):
    for name, target in (("self", "self"), ("pair-a", "pair-b"), ("pair-b", "pair-a"), ("three-a", "three-b"), ("three-b", "three-c"),
                         ("three-c", "three-a"), ("absolute-self", device.files / "absolute-self")):
        device.link(name, target)
        yield device.case("link", name, NOT_ALLOWED)
        yield device.case("link", f"{name}/x", NOT_ALLOWED)
    device.link("here", ".")
    for times in (41, 200):  # Linux follows 40 links in one path
        yield device.case("link", "here/" * times + "sub/x", NOT_ALLOWED)
    yield device.case("link", "here/" * 10 + "../secret/canary", NOT_ALLOWED)


def inside_links(device, follows):
    for name, target, rest in (("to-file", "sub/x", ""), ("to-folder", "sub", "/x"), ("round", "sub/../sub", "/x"),
                               ("to-link", "to-folder", "/x"), ("sub/back", "../sub/x", ""), ("here", ".", "/sub/x")):
        if name != "here":
            device.link(name, target)
        if follows:
            yield case_sent(device, "link", name + rest, (device.files / "sub" / "x").read_bytes())
        else:
            yield device.case("link", name + rest, NOT_ALLOWED)
    yield device.case("link", device.link("absolute-inside", device.files / "sub" / "x"), NOT_ALLOWED)
    yield device.case("link", device.link("out-and-in", "../files/sub/x"), NOT_ALLOWED)
    yield device.case("link", device.link("dangling", "nowhere"), NOT_THERE if follows else NOT_ALLOWED)


def kernel_files(device, shm):
    """Also for a device that allows everything."""
    for path in KERNEL:
        yield device.case("kernel", path.format(canary=device.canary, pid=device.agent.pid, client=device.name, shm=shm), NOT_ALLOWED)


def kinds(device):
    """What is no file of bytes, and files that are only odd."""
    files = device.files
    os.mkfifo(files / "fifo")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(os.path.relpath(files / "socket"))
    (files / "folder").mkdir()
    (files / "empty").touch()
    (files / "gone").touch()
    (files / "gone").unlink()
    with open(files / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with open(files / "sparse-small", "wb") as file:
        file.truncate(100000)
    for name in ("fifo", "socket", "folder", "folder/", "fifo/.", *device_nodes(files)):
        yield device.case("kind", name, {"NOT_A_REGULAR_FILE"})
    for name in ("fifo/x", "socket/x", "gone", "folder/gone", "empty/x"):
        yield device.case("kind", name, NOT_THERE)
    yield device.case("kind", "sparse", {"FILE_TOO_LARGE"})
    yield case_sent(device, "kind", "empty")
    yield case_sent(device, "kind", "sparse-small")


def device_nodes(files):
    """Made only by root, and not everywhere."""
    made = []
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("zero", stat.S_IFCHR, (1, 5)), ("console", stat.S_IFCHR, (5, 1)),
                               ("loop", stat.S_IFBLK, (7, 0)), ("nothing", stat.S_IFCHR, (0, 0))):
        try:
            os.mknod(files / name, kind | 0o666, os.makedev(*number))
            made.append(name)
        except OSError:
            pass
    return made


def names(device):
    """Nothing is wrong with a name that only looks dangerous."""
    for name in ("new\nline", "tab\there", "esc\x1b[2J", "bell\x07", "del\x7f", "quote'", 'double"', "back\\slash", "dollar$(id)",
                 "semi;colon", "per%2e%2ecent", "..dots", "dots..", "...", "-rf", "--help", " lead", "trail ", "a\u0301", "\u202egnp",
                 "\u00e9", "emoji\U0001f4a9", "con", "nul.txt", "a:b", "<b>", "&amp;", "%s%n", "*", "?", "~", "x" * 255, "\u2044",
                 "\u2025", "CR\rLF", "\x01", ".hidden", "..hidden", "sub dir/x"):
        device.good(name)
        yield case_sent(device, "name", name)


DENY = ["*.key", ".ssh", "secret-[0-9]*", "{files}/private", "{files}/*/inner"]


def denied(device, follows=False):
    """Of a device with the patterns above. Everything denied has the canary in it."""
    for name in ("a.key", "A.KEY", ".key", "deep/er/b.key", "x.key/inside", ".ssh/id", "deep/.ssh/id", ".SSH2/../.ssh", "secret-1",
                 "deep/secret-99/x", "private/x", "private/deep/x", "Private/x", "any/inner/x", "any/INNER", "new\nline.key",
                 "\u00e9.key", " .key", ".ssh/deep/er"):
        if "/../" not in name and not (device.files / name).exists():
            device.plant(device.files / name)
        yield device.case("deny", name, NOT_ALLOWED)
        yield device.case("deny", f"{device.files}//./{name}/", NOT_ALLOWED)
    for name in ("missing.key", "no/where/.ssh/x", "private/missing", "private", ".ssh", "x.key/", "A.Key", "PRIVATE/X", ".Ssh/ID"):
        yield device.case("deny", name, NOT_ALLOWED)
    for name in ("a.keys", "key", "sshx/.sshx", "secret-a", "private2/x", "deep/private/x", "any/deep/inner/x", "a.key.txt"):
        device.good(name)
        yield case_sent(device, "deny", name)
    if follows:
        for name, target in (("harmless", "a.key"), ("harmless2", "deep/../a.key"), ("chain", "harmless"), ("p", "private")):
            device.link(name, target)
            yield device.case("deny", name + ("/x" if name == "p" else ""), NOT_ALLOWED)


def hard_links(device):
    """Of a device with single_link."""
    device.good("one-name")
    for name in ("hard", "sub/hard", ".hard", "hard\n"):
        path = device.files / name
        path.parent.mkdir(exist_ok=True)
        os.link(device.canary, path)
        for spelling in (name, f"./{name}", path):
            yield device.case("hard link", spelling, {"HARD_LINKED"})
    device.good("two-names")
    os.link(device.files / "two-names", device.files / "two-names-2")
    for name in ("two-names", "two-names-2"):
        yield device.case("hard link", name, {"HARD_LINKED"})
    yield case_sent(device, "hard link", "one-name")


def owners(device):
    """Of a device with owner, run by root."""
    for name, user in (("of-somebody", 12345), ("of-nobody", 65534)):
        os.chown(device.plant(device.files / name), user, -1)
        yield device.case("owner", name, {"OWNER_NOT_ALLOWED"})
    device.good("of-mine")
    yield case_sent(device, "owner", "of-mine")


def own_key(device, key):
    """Of a device that allows everything."""
    os.link(key, device.files / "key")
    for path in (key, device.files / "key", str(key).replace("/", "//"), device.link("key-link", "key"), str(key)[1:]):
        yield device.case("own key", path, NOT_ALLOWED)


def mounts(device):
    """Of a device with one_file_system that sees home/secret at files/bound and files/sub/bound, the canary at files/bound-file,
    and another file system at files/disk."""
    for path in ("bound/canary", "bound//canary", "./bound/./canary", "bound", "bound-file", "sub/bound/canary", "disk/x", "disk",
                 device.files / "bound" / "canary"):
        yield device.case("mount", path, NOT_ALLOWED)
    yield device.case("mount", "bound/../../secret/canary", NOT_ALLOWED)
    device.good("unmounted")
    yield case_sent(device, "mount", "unmounted")


def kernel_mounts(device):
    """Of a device that sees /proc at files/kernel/proc and /sys at files/kernel/sys, and crosses mounts."""
    for path in ("proc/version", "proc/self/environ", "proc/1/environ", f"proc/self/root{device.canary}", "proc/self/exe", "proc/uptime",
                 "proc/sys/kernel/hostname", "sys/kernel/uevent_seqnum"):
        yield device.case("mount", f"kernel/{path}", NOT_ALLOWED)
    device.good("kernel/x")
    yield case_sent(device, "mount", "kernel/x")
