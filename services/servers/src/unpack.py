"""Unpacks the programs of a wheel: unpack.py WHEEL PREFIX DESTINATION.

Members that begin with PREFIX go to DESTINATION without their folders, decompressed where they
end in .lzma, executable and synced to disk. Prints the percentage done, a line each time it grows.
"""
import os
import sys
import zipfile

wheel, prefix, destination = sys.argv[1:4]
CHUNK = 1 << 20
with zipfile.ZipFile(wheel) as archive:
    members = [m for m in archive.infolist() if m.filename.startswith(prefix)]
    members += [m for m in archive.infolist() if m.filename.endswith("/LICENSE")]
    total = sum(m.file_size for m in members) or 1
    done, told = 0, -1
    for member in members:
        name = member.filename.rsplit("/", 1)[-1]
        if not name:
            continue
        packed = name.endswith(".lzma")
        decoder = None
        if packed:
            import lzma

            name = name[: -len(".lzma")]
            decoder = lzma.LZMADecompressor()
        path = os.path.join(destination, name)
        with archive.open(member) as source, open(path, "wb") as target:
            while True:
                chunk = source.read(CHUNK)
                if not chunk:
                    break
                target.write(decoder.decompress(chunk) if packed else chunk)
                done += len(chunk)
                percent = done * 100 // total
                if percent > told:
                    told = percent
                    print(percent, flush=True)
            if packed and not decoder.eof:
                sys.exit("%s is cut short" % member.filename)
            target.flush()
            os.fsync(target.fileno())
        os.chmod(path, 0o644 if name == "LICENSE" else 0o755)
