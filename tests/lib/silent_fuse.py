# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client that uses a file system of its own, whose server falls silent.

    silent_fuse.py DIRECTORY SOCKET COUNT <REQUESTS
    silent_fuse.py DIRECTORY MEMORY

Mounts a FUSE file system on the directory, in a mount namespace that goes with this process, and opens COUNT files of
it. Standard input is sent over the socket whose descriptor is SOCKET, with the files attached, which are then closed:
whoever took one has the last hold of it. Says "sent" when that is done.

Without a COUNT it writes a page of such a file to the memory file whose descriptor is MEMORY, and says "held" when the
kernel has asked for that page: write(2) has a lock of the memory file from then on until this process ends.

Of what the kernel asks the server, FLUSH (every close(2) of such a file waits for its answer) and RELEASE are answered
for this client, and for no other one ever.
"""

import array
import ctypes
import mmap
import os
import signal
import socket
import stat
import struct
import sys

IN, OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
LOOKUP, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 3, 14, 15, 18, 25, 26
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 0x00020000, 16384, 1 << 18, 2, 4
ENOSYS = 38
libc = ctypes.CDLL(None, use_errno=True)


def must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(directory):
    """The descriptor by which the kernel asks; the file system dies with its last holder."""
    device = os.open("/dev/fuse", os.O_RDWR)
    must(libc.unshare(CLONE_NEWNS))
    must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    must(libc.mount(b"asock-test", directory.encode(), b"fuse", MS_NOSUID | MS_NODEV,
                    f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()))
    return device


def attributes(node):
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, mmap.PAGESIZE, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)


def answer(opcode, node):
    if opcode == INIT:
        return struct.pack("<4I2H3I32x", 7, 31, 4096, 0, 8, 8, 4096, 1, 0)
    if opcode == LOOKUP:
        return struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2)
    if opcode == GETATTR:
        return struct.pack("<QII", 60, 0, 0) + attributes(node)
    if opcode == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    return b"" if opcode in (FLUSH, RELEASE) else None


def serve(device, client):
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique, node, _, _, pid, _ = IN.unpack_from(request)
        if opcode in (FLUSH, RELEASE) and pid != client:
            continue
        if opcode == READ:
            print("held", flush=True)
            continue
        body = answer(opcode, node)
        error = -ENOSYS if body is None else 0
        os.write(device, OUT.pack(OUT.size + len(body or b""), error, unique) + (body or b""))


def send(directory, number, count, data):
    files = [os.open(os.path.join(directory, "file"), os.O_RDONLY) for _ in range(count)]
    with socket.socket(fileno=number) as sock:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        sent = sock.sendmsg([data], rights)
        sock.sendall(data[sent:])
        for file in files:
            os.close(file)
    print("sent", flush=True)
    signal.pause()


def hold(directory, number):
    file = os.open(os.path.join(directory, "file"), os.O_RDONLY)
    with mmap.mmap(file, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ) as page:
        os.pwrite(number, page, 0)


def main(directory, number, count=None):
    data = sys.stdin.buffer.read()
    device = mount(directory)
    client = os.fork()
    if client == 0:
        os.close(device)  # or the file system would not die with its server
        libc.prctl(1, signal.SIGKILL)
        if count is None:
            hold(directory, int(number))
        else:
            send(directory, int(number), int(count), data)
    os.close(int(number))
    serve(device, client)


if __name__ == "__main__":
    main(*sys.argv[1:])
