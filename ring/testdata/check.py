"""Checks vectors.json against SPEC.md: every owner, computed from the text alone. Wants nothing but Python 3."""
import json, math, pathlib, sys

M = (1 << 64) - 1


def hash(key):
    h = 14695981039346656037
    for b in key:
        h = (h ^ b) * 1099511628211 & M
    return h


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M
    return x ^ x >> 31


D = [round(2**32 * math.log2(512 / (256 + i))) for i in range(257)]


def L(u):
    n = 64 - u.bit_length()
    m = u << n
    i, f = (m >> 55) - 256, m << 9 & M
    return (n << 57) + (D[i] << 25) - (((D[i] - D[i + 1]) << 25) * f >> 64)


def seed(name):
    return mix(hash(name))


def distance(name, weight, key_hash):
    return L(mix(seed(name) ^ key_hash) | 1) // weight


def order(members, key_hash):
    return sorted(members, key=lambda name: (distance(name, members[name], key_hash), name))


def partition_key(p):
    return hash(str(p).encode())


def rendezvous(partitions, redundancy, members):
    return [order(members, partition_key(p))[:redundancy] for p in range(partitions)]


def uniform(partitions, redundancy, members):
    owners = [[] for _ in range(partitions)]
    if not members:
        return owners
    n, names = len(members), sorted(members)
    has = dict.fromkeys(names, 0)
    pairs = sorted((distance(name, members[name], partition_key(p)), p, name) for p in range(partitions) for name in names)

    for width in (1, min(redundancy, n)):
        even, more = divmod(partitions * width, n)
        room = lambda name: has[name] < even or has[name] == even and sum(h > even for h in has.values()) < more
        for _, p, name in pairs:
            if len(owners[p]) < width and name not in owners[p] and room(name):
                owners[p].append(name)
                has[name] += 1
        for p in range(partitions):
            while len(owners[p]) < width:
                shift(owners, p, names, has, room)
    return owners


def shift(owners, wanting, names, has, room):
    came = {name: None for name in names if name not in owners[wanting]}
    reached = list(came)
    for m in reached:
        if room(m):
            has[m] += 1
            while came[m]:
                before, q = came[m]
                owners[q][owners[q].index(before)] = m
                m = before
            owners[wanting].append(m)
            return
        for q, own in enumerate(owners):
            if m in own[1:]:
                for to in names:
                    if to not in came and to not in own:
                        came[to] = (m, q)
                        reached.append(to)
    raise AssertionError("no way")


failed = checked = 0


def expect(what, got, want):
    global failed, checked
    checked += 1
    if got != want:
        failed += 1
        print(f"{what}: the text gives {got}, the vector has {want}")


vectors = json.loads((pathlib.Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
for v in vectors["keys"]:
    key = bytes.fromhex(v["key"])
    expect(f"hash of {key}", f"{hash(key):016x}", v["hash"])
    for count, partition in v["partitions"].items():
        expect(f"partition of {key} of {count}", hash(key) % int(count), partition)
for v in vectors["distances"]:
    name, key = v["name"].encode(), bytes.fromhex(v["key"])
    expect(f"seed of {name}", f"{seed(name):016x}", v["seed"])
    expect(f"distance from {name}, weight {v['weight']}, to {key}", f"{distance(name, v['weight'], hash(key)):016x}", v["distance"])
for v in vectors["rings"]:
    what = f"{v['distribution']}, {v['partitions']} partitions, redundancy {v['redundancy']}, {len(v['members'])} members"
    listed = [m["name"].encode() for m in v["members"]]
    members = {m["name"].encode(): m["weight"] for m in v["members"]}
    table = {"rendezvous": rendezvous, "uniform": uniform}[v["distribution"]](v["partitions"], v["redundancy"], members)
    for p, own in enumerate(table):
        expect(f"{what}: partition {p}", " ".join(str(listed.index(name)) for name in own), v["owners"][p])
    for line in v["lists"]:
        p = hash(line["key"].encode()) % v["partitions"]
        rest = [name for name in order(members, partition_key(p)) if name not in table[p]]
        expect(f"{what}: key {line['key']!r}", [name.decode() for name in table[p] + rest], line["members"])
    for line in v["straight"]:
        expect(f"{what}: key {line['key']!r}, straight", [name.decode() for name in order(members, hash(line["key"].encode()))], line["members"])
print(f"{checked - failed} of {checked} vectors agree")
sys.exit(failed > 0 or checked == 0)
