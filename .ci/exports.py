"""The parts of .ci/exports that need a library: see there."""

import datetime
import json
import pathlib
import sys
import time

TYPES = {
    "lookups": {
        "client": "VARCHAR", "name": "VARCHAR", "types": "VARCHAR[]", "start": "TIMESTAMPTZ_NS",
        "duration_seconds": "DOUBLE", "outcome": "VARCHAR", "attempts": "UINTEGER", "servers": "VARCHAR[]",
        "resolver": "VARCHAR", "suffixes_tried": "UINTEGER", "approximate": "BOOLEAN", "file": "VARCHAR",
        "frame": "UINTEGER",
    },
    "transactions": {
        "client": "VARCHAR", "server": "VARCHAR", "backend": "VARCHAR", "masquerade": "VARCHAR",
        "transport": "VARCHAR", "id": "USMALLINT", "name": "VARCHAR", "type": "VARCHAR",
        "start": "TIMESTAMPTZ_NS", "outcome": "VARCHAR", "rcode": "VARCHAR", "latency_ms": "DOUBLE",
        "attempts": "UINTEGER", "responses": "UINTEGER", "frames": "VARCHAR[]",
    },
}


def nanoseconds(text):
    """Nanoseconds since the epoch of a time with nine digits."""
    whole = datetime.datetime.fromisoformat(text[:19] + "+00:00")
    return int(whole.timestamp()) * 1_000_000_000 + int(text[20:29])


def tables(folder):
    """Every cell of both tables is that of the lines."""
    import duckdb
    for what, types in TYPES.items():
        table = f"read_parquet('{folder}/{what}.parquet')"
        shown = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {table}").fetchall()}
        assert shown == types, f"{what}: {shown}"
        columns = [f"epoch_ns({name})" if name == "start" else f'"{name}"' for name in types]
        rows = duckdb.sql(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        lines = [json.loads(line) for line in open(f"{folder}/{what}.jsonl")]
        assert len(rows) == len(lines) > 100, f"{what}: {len(rows)} rows, {len(lines)} lines"
        for row, line in zip(rows, lines):
            row = dict(zip(types, row))
            for name in types:
                expected = line.get(name)
                if name == "start":
                    expected = nanoseconds(expected)
                elif what == "transactions" and name in ("attempts", "responses"):
                    expected = len(expected)
                elif name == "frames":
                    seen = [frame for part in line["attempts"] + line["responses"] for frame in part["frames"]]
                    expected = [f"{frame['file']}:{frame['frame']}" for frame in seen]
                assert row[name] == expected, f"{what}.{name}: {row[name]} is not {expected}"
        print(f"{what}: {len(rows)} rows read back by DuckDB {duckdb.__version__}")


def upload(endpoint, folder):
    """Puts the captures of a folder into a bucket."""
    import boto3
    client = boto3.client("s3", endpoint_url=endpoint)
    for attempt in range(100):
        try:
            client.create_bucket(Bucket="captures")
            break
        except Exception:  # The server is not there yet.
            if attempt == 99:
                raise
            time.sleep(0.2)
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file() and ".pcap" in path.name:
            key = f"archive/{path.relative_to(folder)}"
            client.put_object(Bucket="captures", Key=key, Body=path.read_bytes())


def same(here, there):
    """Both folders hold the same reports and the same index."""
    def reports(folder):
        files = pathlib.Path(folder).rglob("*")
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in files if path.is_file() and ".dnswhy" not in path.parts
        }
    here, there = reports(here), reports(there)
    assert here.keys() == there.keys(), here.keys() ^ there.keys()
    differ = [path for path in here if here[path] != there[path]]
    assert not differ, differ
    print(f"{len(here)} files are the same from S3 as from disk")


if __name__ == "__main__":
    {"tables": tables, "upload": upload, "same": same}[sys.argv[1]](*sys.argv[2:])
