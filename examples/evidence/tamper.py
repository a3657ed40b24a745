#!/usr/bin/env python3
"""Tampers with a copy of exports in eleven ways, and shows that both verifiers name each of them.

usage: tamper.py FOLDER KEYS_FILE        (needs `countersign` on the PATH)
"""
import base64, gzip, hashlib, json, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "docs"))
sys.dont_write_bytecode = True
import verify_evidence as evidence


def folders(top):
    found = [folder for folder, _, names in os.walk(top) if "manifest.json" in names]
    return sorted(found, key=lambda folder: manifest(folder)["number"])


def manifest(folder):
    return json.load(open(os.path.join(folder, "manifest.json")))


def read(folder, name):
    return [json.loads(line) for line in gzip.open(os.path.join(folder, name))]


def write(folder, name, lines, made_good=True):
    """Writes a file; `made_good`: its manifest says what is in it then."""
    data = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), mtime=0)
    open(os.path.join(folder, name), "wb").write(data)
    if made_good:
        said = manifest(folder)
        for file in [*said["files"], said.get("documents"), said.get("log", {}).get("entries")]:
            if file and file["name"] == name:
                count = "events" if "events" in file else "documents"
                file.update({"digest": evidence.sha(data), "bytes": len(data), count: len(lines)})
        json.dump(said, open(os.path.join(folder, "manifest.json"), "w"))


def with_events(top):
    """The first export with an execution that is in it from its first event to its end."""
    for folder in folders(top):
        for part in manifest(folder)["files"]:
            events = read(folder, part["name"])
            for event in events:
                stream = event["subject"]
                if event["type"] in evidence.ENDS and part["segments"][stream]["from"] == 1:
                    return folder, part["name"], events, stream
    sys.exit("no execution ended in these exports")


def change(top, edit, made_good=True):
    folder, name, events, stream = with_events(top)
    write(folder, name, edit(events, stream), made_good)


def edited(events, stream):
    first = next(event for event in events if event["subject"] == stream)
    first["actor"] = "eve"
    return events


def moved_back(events, stream):
    last = [event for event in events if event["subject"] == stream][-1]
    last["time"] = "2001-01-01T00:00:00.000Z"
    return events


def removed_event(events, stream):
    return [event for event in events if (event["subject"], event["sequence"]) != (stream, 2)]


def cut(events, stream):
    return [event for event in events if event["subject"] != stream or event["sequence"] < 3]


def removed_execution(events, stream):
    return [event for event in events if event["subject"] != stream]


def removed_export(top):
    shutil.rmtree(folders(top)[0])


def swapped(top):
    one, two = folders(top)[:2]
    said, other = manifest(one), manifest(two)
    said["number"], other["number"] = other["number"], said["number"]
    for folder, document in (one, said), (two, other):
        json.dump(document, open(os.path.join(folder, "manifest.json"), "w"))


def changed_document(top):
    folder = with_events(top)[0]
    name = manifest(folder)["documents"]["name"]
    documents = read(folder, name)
    intent = next(document for document in documents if document["kind"] == "intent")
    intent["body"]["text"] = "something else"
    write(folder, name, documents)


def forked(top):
    folder = next(folder for folder in folders(top) if "entries" in manifest(folder).get("log", {}))
    name = manifest(folder)["log"]["entries"]["name"]
    write(folder, name, read(folder, name)[::-1][1:])


def resigned(top):
    """Signs every manifest anew, by a key of one's own."""
    secret = hashlib.sha512(b"not the key of the control plane").digest()
    scalar = int.from_bytes(secret[:32], "little") & (1 << 254) - 8 | 1 << 254
    order = 2**252 + 27742317777372353535851937790883648493

    def pressed(p):
        inverse = pow(p[2], evidence.P - 2, evidence.P)
        x, y = p[0] * inverse % evidence.P, p[1] * inverse % evidence.P
        return (y | (x & 1) << 255).to_bytes(32, "little")

    key = pressed(evidence.times(scalar, evidence.BASE))
    for folder in folders(top):
        data = open(os.path.join(folder, "manifest.json"), "rb").read()
        said = json.loads(data)
        name = "countersign/" + said["workspaceId"]
        text = f"{name}/export\n{said['number']}\n{evidence.sha(data)}\n"
        r = int.from_bytes(hashlib.sha512(secret[32:] + text.encode()).digest(), "little") % order
        point = pressed(evidence.times(r, evidence.BASE))
        h = int.from_bytes(hashlib.sha512(point + key + text.encode()).digest(), "little")
        signature = point + ((r + h * scalar) % order).to_bytes(32, "little")
        id = hashlib.sha256(name.encode() + b"\n\1" + key).digest()[:4]
        line = "\u2014 " + name + " " + base64.b64encode(id + signature).decode()
        open(os.path.join(folder, "manifest.note"), "w").write(f"{text}\n{line}\n")


def other_key(top):
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "other", "x": base64.urlsafe_b64encode(
        bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).decode().rstrip("=")}
    json.dump({"keys": [jwk]}, open(os.path.join(top, "other.json"), "w"))


TAMPERINGS = [
    ("an edited byte", "FILE_CHANGED", lambda top: change(top, edited, made_good=False)),
    ("the same, its manifest made good", "EVENT_CHANGED", lambda top: change(top, edited)),
    ("a removed event", "EVENT_MISSING", lambda top: change(top, removed_event)),
    ("a cut tail", "TAIL_CUT", lambda top: change(top, cut)),
    ("a removed execution", "MANIFEST_CHANGED", lambda top: change(top, removed_execution)),
    ("a removed export", "EXPORT_MISSING", removed_export),
    ("swapped exports", "EXPORT_SWAPPED", swapped),
    ("a changed document", "DOCUMENT_CHANGED", changed_document),
    ("another log", "LOG_CHANGED", forked),
    ("a history signed anew", "UNKNOWN_KEY", resigned),
    ("a wrong key", "UNKNOWN_KEY", other_key),
    ("a clock moved back", "CLOCK_BACK", lambda top: change(top, moved_back)),
]


def codes(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout


def main(top, keys):
    failed = 0
    for what, code, tamper in TAMPERINGS:
        with tempfile.TemporaryDirectory() as scratch:
            copy = shutil.copytree(top, os.path.join(scratch, "exports"))
            tamper(copy)
            with_keys = os.path.join(copy, "other.json") if tamper is other_key else keys
            rust = codes(["countersign", "verify", copy, "--keys", with_keys, "--json"])
            script = os.path.join(HERE, "..", "..", "docs", "verify_evidence.py")
            python = codes([sys.executable, "-B", script, copy, with_keys])
            named = [exit == 1 and code in said for exit, said in (rust, python)]
            failed += not all(named)
            print(f"{'named by both' if all(named) else 'NOT NAMED':14} {what}: {code}")
    print(f"{len(TAMPERINGS) - failed} of {len(TAMPERINGS)} named by both")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
