#!/usr/bin/env python3
"""Checks exports of Countersign with nothing but Python's own library: a second verifier beside
`countersign verify`, written from the description of the format (docs/src/explanation/evidence.md).

usage: verify_evidence.py FOLDER KEYS_FILE [CHECKPOINT_FILE]"""
import base64, datetime, functools, gzip, hashlib, json, os, sys
from decimal import Decimal

SKEW = 60  # seconds by which clocks of machines may differ
ENDS = {"controlPlane.execution." + end for end in ("completed", "failed", "cancelled")}
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
findings = []

def check(holds, code, place, message):
    if not holds:
        findings.append(code)
        print(f"{code} {place}: {message}")

def add(p, q):  # points of the curve of Ed25519 (RFC 8032, 5.1.4)
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    return (b - a) * (d - c) % P, (d + c) * (b + a) % P, (d - c) * (d + c) % P, (b - a) * (b + a) % P

def times(s, p):
    q = (0, 1, 1, 0)
    while s:
        q, p, s = (add(q, p) if s & 1 else q), add(p, p), s >> 1
    return q

def point(data):
    y = int.from_bytes(data, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    assert y < P and (x * x - square) % P == 0, "no point of the curve"
    x = x if x & 1 == data[31] >> 7 else P - x
    return x, y, 1, x * y % P

BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))

def is_signed(key, text, signature):
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little")
    p, q = times(s, BASE), add(point(signature[:32]), times(h, point(key)))
    same = (p[0] * q[2] - q[0] * p[2]) % P == 0 == (p[1] * q[2] - q[1] * p[2]) % P
    return same and s < 2**252 + 27742317777372353535851937790883648493

def number(v):  # as ECMAScript writes it (RFC 8785, 3.2.2.3)
    d = Decimal(repr(v)).normalize()
    return "0" if v == 0 else f"{d:f}" if 1e-6 <= abs(v) < 1e21 else f"{d:e}"

def jcs(v):  # canonical JSON (RFC 8785); integers keep their digits
    if isinstance(v, dict):
        members = sorted(v.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(jcs(key) + ":" + jcs(value) for key, value in members) + "}"
    if isinstance(v, list):
        return "[" + ",".join(map(jcs, v)) + "]"
    return number(v) if isinstance(v, float) else json.dumps(v, ensure_ascii=False)

def sha(data):
    return "sha256:" + hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()

def note(text, name, keys, place):  # the text of a signed note (C2SP signed-note)
    body, _, lines = text.rpartition("\n\n")
    ids = {hashlib.sha256(name.encode() + b"\n\1" + key).digest()[:4]: key for key in keys}
    named = [line.split(" ")[2] for line in lines.splitlines() if line.split(" ")[1] == name]
    known = [data for data in map(base64.b64decode, named) if data[:4] in ids]
    check(known, "UNKNOWN_KEY", place, "it is signed by no key that was given")
    verified = all(is_signed(ids[data[:4]], (body + "\n").encode(), data[4:]) for data in known)
    check(verified, "FORGED", place, "its signature does not verify")
    return body + "\n"

def push(tree, leaf):  # a Merkle tree (RFC 6962): size and root of its largest complete subtrees
    leaf = (1, hashlib.sha256(b"\0" + leaf).digest())
    while tree and tree[-1][0] == leaf[0]:
        leaf = (2 * leaf[0], hashlib.sha256(b"\1" + tree.pop()[1] + leaf[1]).digest())
    tree.append(leaf)

def root(tree):
    join = lambda right, left: hashlib.sha256(b"\1" + left + right).digest()
    roots = [root for _, root in reversed(tree)] or [hashlib.sha256(b"").digest()]
    return base64.b64encode(functools.reduce(join, roots)).decode()

def lines(folder, file, count="documents"):
    try:
        data = open(os.path.join(folder, os.path.basename(file["name"])), "rb").read()
        text = gzip.decompress(data)
    except (OSError, EOFError) as error:
        return check(False, "FILE_CHANGED", folder, error) or []
    named = (sha(data), text.count(b"\n")) == (file["digest"], file[count])
    check(named, "FILE_CHANGED", folder, file["name"] + " is not the file that the manifest names")
    return [json.loads(line) for line in text.splitlines()]

def seconds(at):
    return datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()

def check_event(event, name, ends, hashes, unlogged):
    stream, seq = event["subject"], event["sequence"]
    place = f"{stream} event {seq}"
    before, prev, since = ends.get(stream, (0, "sha256:" + "0" * 64, 0))
    hashed = {"seq": seq, "at": event["time"], "type": event["type"], "data": event["data"], "prev": prev}
    hashed["actor"] = {"kind": event["actorkind"], "id": event["actor"]}
    for ours, theirs in dict(keyId="keyid", subject="onbehalfof", channel="channel", traceparent="traceparent").items():
        hashed.update({ours: event[theirs]} if theirs in event else {})
    at, same = seconds(event["time"]), sha(jcs(hashed)) == event["id"] and event["source"] == name
    check(seq == before + 1, "EVENT_MISSING", place, f"event {before + 1} is missing")
    check(seq != before + 1 or same, "EVENT_CHANGED", place, "it does not have its hash, or its place")
    check(since <= at + SKEW, "CLOCK_BACK", place, "its time lies before the one before it")
    ends[stream], hashes[stream, seq] = (seq, event["id"], at), event["id"]
    unlogged.update({stream: at} if event["type"] in ENDS else {})

def main(top, keys, anchor=None):
    keys = [base64.urlsafe_b64decode(key["x"] + "=") for key in json.load(open(keys))["keys"]]
    folders = [folder for folder, _, names in os.walk(top) if "manifest.json" in names]
    exports = [(open(os.path.join(folder, "manifest.json"), "rb").read(), folder) for folder in folders]
    exports = sorted(((json.loads(data), data, folder) for data, folder in exports), key=lambda e: e[0]["number"])
    name = "countersign/" + exports[0][0]["workspaceId"]
    anchor = note(open(anchor).read(), name, keys, anchor).splitlines() if anchor else None
    ends, hashes, unlogged, leaves, tree, previous, to, number = {}, {}, {}, [], [], None, 0, 0
    for manifest, data, folder in exports:
        signed = note(open(os.path.join(folder, "manifest.note")).read(), name, keys, folder)
        same = signed == f"{name}/export\n{manifest['number']}\n{sha(data)}\n"
        check(same, "MANIFEST_CHANGED", folder, "it is not the manifest that its note signs")
        follows = manifest["number"] != number + 1 or manifest.get("previous") == previous
        check(manifest["number"] == number + 1, "EXPORT_MISSING", folder, f"export {number + 1} is missing")
        check(follows, "EXPORT_SWAPPED", folder, "it does not follow the export before it")
        number, previous = manifest["number"], sha(data)
        forward = seconds(manifest["from"]) <= seconds(manifest["to"]) + SKEW
        check(forward, "CLOCK_BACK", folder, "the clock went back since the export before")
        for part in manifest["files"]:
            for event in lines(folder, part, "events"):
                check_event(event, name, ends, hashes, unlogged)
            for stream, segment in part["segments"].items():
                there = ends.get(stream, (0, ""))[:2] == (segment["to"], part["heads"][stream])
                check(there, "TAIL_CUT", stream, "it does not end where the manifest says")
        for document in lines(folder, manifest["documents"]) if "documents" in manifest else []:
            body = document["body"]
            same = sha(body if isinstance(body, str) else jcs(body)) == document["digest"]
            check(same, "DOCUMENT_CHANGED", folder, document["digest"])
        if log := manifest.get("log"):
            follows = (log["from"], log["subtrees"]) == (len(leaves), [root.hex() for _, root in tree])
            check(follows, "LOG_FORKED", folder, "it goes on from another log than the export before")
            for leaf in lines(folder, log["entries"]) if "entries" in log else []:
                leaves.append(leaf)
                push(tree, jcs(leaf).encode())
                same = not anchor or anchor[1] != str(len(leaves)) or anchor[2] == root(tree)
                check(same, "LOG_FORKED", folder, "its log is not that of the checkpoint that was given")
            same = note(log["checkpoint"], name, keys, folder) == f"{name}\n{len(leaves)}\n{root(tree)}\n"
            check(same, "LOG_CHANGED", folder, "the entries do not give the root of the checkpoint")
            to = seconds(manifest["to"])
    for leaf in leaves:
        stream, at = leaf["stream"], seconds(leaf["at"])
        unlogged.pop(stream, None)
        same = hashes.get((stream, leaf["seq"]), leaf["hash"] if to <= at + SKEW else None) == leaf["hash"]
        code = "TAIL_CUT" if stream in ends and (stream, leaf["seq"]) not in hashes else "EXECUTION_MISSING"
        check(same, code, stream, "the log has it otherwise")
    for stream, at in unlogged.items():
        check(to <= at + SKEW, "EXECUTION_UNLOGGED", stream, "its end does not stand in the log")
    whole = not anchor or int(anchor[1]) <= len(leaves)
    check(whole, "LOG_CUT", top, "the exports end before the checkpoint that was given")

if __name__ == "__main__":
    main(*sys.argv[1:])
    print(f"{len(findings)} found" if findings else "complete and untouched")
    sys.exit(1 if findings else 0)
