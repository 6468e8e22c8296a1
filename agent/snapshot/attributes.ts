// For tests of ways back: a folder with one of each attribute that a file can have, ways to spoil them, and all of it written down.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { runOrThrow } from '#manifests/platform/process';

const COMMAND_MS = 60_000;
/** Below a covered folder, and owned by no package. */
const PLACE = '/etc/patch-test';

/** POSIX access lists as the kernel takes them (acl(5), version 2): owner, user 33, group, mask, others. */
const ACL =
  'bytes.fromhex("0200000001000600ffffffff0200060021000000040004 00ffffffff10000600ffffffff20000400ffffffff".replace(" ",""))';

const MAKE = `
import os, sys
os.chdir(sys.argv[1]); os.umask(0)
def put(name, text, mode=0o644):
    with open(name, "w") as f: f.write(text)
    os.chmod(name, mode)
put("plain", "x" * 5000, 0o640); os.chown("plain", 33, 34)
put("noted", "n"); os.setxattr("noted", "user.note", b"as its owner wrote it")
put("trusted", "t"); os.setxattr("trusted", "trusted.note", b"root only")
put("listed", "l"); os.setxattr("listed", "system.posix_acl_access", ${ACL})
put("setuid", "s", 0o4755)
put("capable", "c", 0o755); os.setxattr("capable", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
put("first-name", "linked"); os.link("first-name", "second-name")
with open("sparse", "wb") as f:
    f.write(b"start"); f.seek(32 << 20); f.write(b"end")
os.mkfifo("pipe", 0o620); os.symlink("nowhere", "link"); os.mknod("null", 0o20666, os.makedev(1, 3))
put("blank and 'quote'", "b"); put("line\\nbreak", "b"); put("-dash", "b"); put("ümläut", "b")
os.mkdir("folder", 0o2750); os.chown("folder", 0, 33); os.chmod("folder", 0o2750)
os.setxattr("folder", "user.note", b"of a folder"); os.setxattr("folder", "system.posix_acl_default", ${ACL})
put("folder/inside", "i"); os.mkdir("folder/empty", 0o700)
for name in ("bare", "marked"): os.mkdir(name, 0o755)
os.setxattr("marked", "user.note", b"stays"); os.setxattr("marked", "user.bytes", b"\\xff\\x00="); os.setxattr("marked", "system.posix_acl_access", ${ACL})
for name in sorted(os.listdir(".")): os.utime(name, ns=(1, 1600000000123456000), follow_symlinks=False)
`;

const SPOIL = `
import os, sys, shutil
os.chdir(sys.argv[1])
with open("plain", "w") as f: f.write("y")
os.chown("plain", 0, 0)
os.setxattr("noted", "user.note", b"other"); os.removexattr("trusted", "trusted.note")
os.setxattr("listed", "user.extra", b"new"); os.chmod("setuid", 0o755); os.removexattr("capable", "security.capability")
os.unlink("second-name"); open("second-name", "w").write("apart")
with open("sparse", "r+b") as f: f.write(b"other")
for name in ("pipe", "link", "null", "blank and 'quote'", "line\\nbreak", "-dash", "ümläut"): os.unlink(name)
shutil.rmtree("folder"); open("folder", "w").write("a file now"); open("new", "w").write("new")
`;

const DESCRIBE = `
import os, sys, hashlib, json
found = {}
for top, folders, files in os.walk(sys.argv[1]):
    for name in [""] * (top == sys.argv[1]) + folders + files:
        path = os.path.join(top, name); s = os.lstat(path)
        attributes = {a: os.getxattr(path, a, follow_symlinks=False).hex() for a in os.listxattr(path, follow_symlinks=False)}
        kind = s.st_mode >> 12
        text = os.readlink(path) if kind == 10 else hashlib.sha256(open(path, "rb").read()).hexdigest() if kind == 8 else ""
        if kind == 8: text += " sparse" if s.st_blocks * 512 * 4 < s.st_size else ""
        found[os.path.relpath(path, sys.argv[1])] = [oct(s.st_mode), s.st_uid, s.st_gid, s.st_rdev, kind == 8 and s.st_nlink,
            s.st_mtime_ns // 1000, sorted(attributes.items()), text]
print(json.dumps(found, sort_keys=True))
`;

async function python(root: string, code: string): Promise<string> {
  return (await runOrThrow('python3', ['-c', code, join(root, PLACE)], { timeoutMs: COMMAND_MS })).stdout;
}

/** Makes the folder in a host's tree. */
export async function makeAttributes(root: string): Promise<void> {
  fs.mkdirSync(join(root, PLACE));
  await python(root, MAKE);
}

/** What an administrator's tools, or a script of a package's, do to folders that stay. */
const SPOIL_FOLDERS: readonly (readonly [program: string, ...args: string[]])[] = [
  ['setfattr', '-n', 'user.extra', '-v', 'new', 'bare'],
  ['setfattr', '-n', 'trusted.extra', '-v', 'new', 'bare'],
  ['setfacl', '-m', 'u:33:rwx', '-m', 'd:u:34:rx', 'bare'],
  ['setfattr', '-n', 'user.bytes', '-v', '0xff0041', 'marked'],
  ['setfattr', '-n', 'user.new', '-v', 'new', 'marked'],
  ['setfattr', '-x', 'user.note', 'marked'],
  ['setfacl', '-b', 'marked'],
];

/** Changes, replaces or removes every one of them. */
export async function spoilAttributes(root: string): Promise<void> {
  await python(root, SPOIL);
  for (const [program, ...args] of SPOIL_FOLDERS)
    await runOrThrow(program, args, { timeoutMs: COMMAND_MS, cwd: join(root, PLACE) });
}

/** Each path with type, mode, owner, device, links, time, extended attributes (capabilities and access lists are some) and content. */
export async function describeAttributes(root: string): Promise<unknown> {
  return JSON.parse(await python(root, DESCRIBE)) as unknown;
}
