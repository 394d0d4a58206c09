// What programs do on a mount of the Linux kernel's client, with its caching on, on a small emulated machine; compared with the same on
// that machine's own memory, and with what lies on the volume in the end.
//   FILES=300        of the source tree (default 3000)
//   WORKLOADS=git    only those, by name
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { run } from '../cluster/shell.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const FILES = Number(process.env.FILES ?? 3000);
const FILES_A_FOLDER = 100;
const ROWS = 30;
/** Emulation is slow: starting the machine, and each file that passes it. */
const MACHINE_SECONDS = 300 + FILES;
const MACHINE = join(import.meta.dirname, '../cluster/linux-client/linux-client.sh');
/** Programs of this machine that the small one gets along. */
const PROGRAMS = ['git', 'rsync', 'sqlite3', 'flock'];
/** Where the small machine finds this one's loopback. */
const HOST = '10.0.2.2';

/** Each ends with an error when something is not as it should be. */
const workloads: Record<string, string> = {
  tree: `
    tar xf /tmp/tree.tar -C /tmp; mkdir /mnt/unpacked
    tar xf /tmp/tree.tar -C /mnt/unpacked
    diff -r /tmp/tree /mnt/unpacked/tree
    umount /mnt; mount_share /mnt
    diff -r /tmp/tree /mnt/unpacked/tree
    rm -r /mnt/unpacked/tree
    [ -z "$(ls -A /mnt/unpacked)" ]; rmdir /mnt/unpacked`,
  rsync: `
    [ -d /tmp/tree ] || tar xf /tmp/tree.tar -C /tmp
    rsync -a --checksum /tmp/tree/ /mnt/synced/
    rsync -a --checksum --itemize-changes /tmp/tree/ /mnt/synced/ > /tmp/changes
    cat /tmp/changes; ! grep -q '^[<>]f' /tmp/changes
    diff -r /tmp/tree /mnt/synced; rm -r /mnt/synced`,
  git: `
    export HOME=/tmp GIT_EXEC_PATH=/usr/lib/git-core
    git config --global safe.directory '*'; git config --global user.email a@b; git config --global user.name a
    git clone --quiet --no-hardlinks /mnt/source.git /mnt/clone
    git -C /mnt/clone fsck --full --strict
    [ -z "$(git -C /mnt/clone status --porcelain)" ]
    echo more > /mnt/clone/more; git -C /mnt/clone add more; git -C /mnt/clone commit --quiet -m more
    git -C /mnt/clone gc --quiet; git -C /mnt/clone fsck --full --strict
    rm -r /mnt/clone`,
  // Between two mounts with lock files: SQLite turns a shared range into an exclusive one, which no SMB server lets an open do.
  sqlite: `
    mkdir -p /mnt2; mount_share /mnt2 nosharesock
    sql() { sqlite3 -vfs $vfs -cmd '.timeout 100000' "$@"; }
    writer() { i=0; while [ $i -lt ${ROWS} ]; do sql $1/base.db "INSERT INTO t VALUES('$2', $i)"; i=$((i + 1)); done; }
    both() {
      sql /mnt/base.db 'PRAGMA journal_mode=DELETE; CREATE TABLE t(who TEXT, i INTEGER)' > /dev/null
      writer $1 one & first=$!; writer $2 two & second=$!
      wait $first; wait $second
      [ "$(sql $1/base.db 'SELECT count(DISTINCT who || i) FROM t')" = ${2 * ROWS} ]
      [ "$(sql $2/base.db 'PRAGMA mmap_size=1000000; PRAGMA integrity_check' | tail -n 1)" = ok ]
      rm /mnt/base.db
    }
    vfs=unix both /mnt /mnt; echo 'one mount passed'
    vfs=unix-dotfile both /mnt /mnt2; umount /mnt2`,
  locks: `
    mkdir -p /mnt2; mount_share /mnt2 nosharesock
    touch /mnt/lock
    exec 8> /mnt/lock; flock 8
    if flock -n /mnt2/lock true; then echo 'locked twice'; exit 1; fi
    flock -u 8; exec 8>&-
    flock -n /mnt2/lock true
    i=0; while [ $i -lt 20 ]; do
      (exec 7< /mnt/lock; flock 7; n=$(cat /mnt/count 2>/dev/null || echo 0); echo $((n + 1)) > /mnt/count) &
      (exec 7< /mnt2/lock; flock 7; n=$(cat /mnt2/count 2>/dev/null || echo 0); echo $((n + 1)) > /mnt2/count) &
      i=$((i + 1))
    done; wait
    [ "$(cat /mnt/count)" = 40 ]; rm /mnt/count /mnt/lock; umount /mnt2`,
};

const wanted = Object.keys(workloads).filter((name) => !process.env.WORKLOADS || process.env.WORKLOADS.includes(name));

/** A program with the libraries that it needs, as paths of this machine. */
function withLibraries(program: string): string[] {
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  return [program, ...Array.from(libraries, ([, path = '']) => path)];
}

/** Copies files to where they lie here, below a folder. */
function copyBelow(folder: string, paths: Iterable<string>): void {
  for (const path of paths) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), readFileSync(realpathSync(path)), { mode: 0o755 });
  }
}

describe("the Linux kernel's client", () => {
  let serving: Serving;
  let console_: string[] = [];
  const work = mkdtempSync(join(tmpdir(), 'holdfast-workloads-'));

  beforeAll(
    async () => {
      serving = await Serving.start();
      await prepareShare(work, serving.directory);
      const commands = join(work, 'commands');
      writeFileSync(commands, script(serving.addresses[0] ?? ''), { mode: 0o600 });
      const onLine = (line: string) => {
        if (process.env.HOLDFAST_TEST_LOG) process.stderr.write(`${line}\n`);
        console_.push(line.trim());
      };
      const env = { ...process.env, NAMESPACE: '', TIMEOUT_SECONDS: String(MACHINE_SECONDS), MEMORY_MIB: '1024' };
      await run(MACHINE, [commands], { env, onLine }).catch((error: Error) => {
        console_.push(error.message);
      });
      console_ = console_.filter((line) => line !== '');
    },
    MACHINE_SECONDS * 1000 + 60_000,
  );

  afterAll(async () => {
    await serving?.stop();
    rmSync(work, { recursive: true, force: true });
  }, 30_000);

  test.each(wanted)('%s', (name) => {
    if (!console_.includes(`WORKLOAD ${name} passed`)) throw new Error(console_.slice(-40).join('\n'));
  });

  test('leaves nothing on the volume', () => {
    const kept = ['tools.tar', 'tree.tar', 'source.git'];
    const left = readdirSync(serving.directory).filter((name) => !kept.includes(name) && !name.startsWith('.holdfast'));
    expect(left).toEqual([]);
  });
});

/** Puts the programs, a tree of files and a repository on the share. */
async function prepareShare(work: string, share: string): Promise<void> {
  const tools = join(work, 'tools');
  const paths = PROGRAMS.map((name) => realpathSync(execFileSync('which', [name], { encoding: 'utf8' }).trim()));
  copyBelow(tools, new Set(paths.flatMap(withLibraries)));
  mkdirSync(join(tools, 'usr/lib/git-core'), { recursive: true });
  for (const alias of ['git', 'git-upload-pack']) {
    execFileSync('ln', ['-s', '/usr/bin/git', join(tools, 'usr/lib/git-core', alias)]);
  }
  await run('tar', ['cf', join(share, 'tools.tar'), '-C', tools, '.']);

  const tree = join(work, 'tree');
  for (let i = 0; i < FILES; i++) {
    const folder = join(tree, `module${Math.floor(i / FILES_A_FOLDER)}`, `part${i % 7}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file${i}.c`), `/* file ${i} */\n`.repeat((i * 13) % 500));
  }
  await run('tar', ['cf', join(share, 'tree.tar'), '-C', work, basename(tree)]);
  const git = (...args: string[]) => run('git', ['-C', tree, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args]);
  await git('init', '--quiet');
  await git('add', '.');
  await git('commit', '--quiet', '-m', 'all');
  await run('git', ['clone', '--quiet', '--bare', tree, join(share, 'source.git')]);
}

/** What the small machine runs: each workload in a shell of its own that ends at the first error. */
function script(address: string): string {
  const { port } = parseAddress(address);
  // A script each: in the condition of an "if", a shell goes on after errors.
  const files = wanted.map(
    (name) => `cat > /tmp/${name}.sh <<'END'
set -e
. /tmp/mount.sh
${workloads[name]}
END
if sh -e /tmp/${name}.sh 2>&1; then echo "WORKLOAD ${name} passed"; else echo "WORKLOAD ${name} failed"; fi
umount /mnt2 2>/dev/null || true
grep -q ' /mnt ' /proc/mounts || mount_share /mnt`,
  );
  return `
cat > /tmp/mount.sh <<'END'
mount_share() {
  mount -t cifs //${HOST}/share $1 -o 'username=${USER},password=${PASSWORD},vers=3.1.1,port=${port}'\${2:+,$2}
}
END
. /tmp/mount.sh
mount_share /mnt
tar xf /mnt/tools.tar -C /
cp /mnt/tree.tar /tmp/
${files.join('\n')}
umount /mnt
`;
}
