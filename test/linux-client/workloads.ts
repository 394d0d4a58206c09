/** How much of each there is to do. */
export interface Size {
  /** Of the source tree. */
  files: number;
  /** Written by each of two writers of a database. */
  rows: number;
  /** Of random I/O. */
  operations: number;
  seed: number;
  /** How often each of four processes takes a lock. */
  rounds: number;
}

/** A few of everything takes a minute; a tree of thousands a quarter of an hour. */
export function sizeFor(files: number, seed: number): Size {
  const scaled = (per: number, least: number, most: number) => Math.min(most, Math.max(least, Math.round(files / per)));
  return { files, rows: scaled(100, 4, 30), operations: scaled(0.6, 150, 5000), seed, rounds: scaled(60, 5, 50) };
}

/**
 * Shell scripts that end with an error when something is not as it should be, or not as on the machine's own memory (/tmp). The share is
 * mounted at $A, and once more, with a connection of its own, at $B; `mount_a` and `mount_b` mount with further options.
 */
export function workloads({ rows, operations, seed, rounds }: Size): Record<string, string> {
  return {
    tree: `
      mkdir $A/unpacked; tar xf /tmp/tree.tar -C $A/unpacked
      diff -r /tmp/tree $A/unpacked/tree
      umount $A; mount_a
      diff -r /tmp/tree $A/unpacked/tree; diff -r /tmp/tree $B/unpacked/tree
      rm -r $A/unpacked/tree
      [ -z "$(ls -A $A/unpacked)" ]; rmdir $A/unpacked`,
    rsync: `
      rsync -a --checksum /tmp/tree/ $A/synced/
      # Owners and modes are not kept: what is sent again would be contents.
      rsync -a --checksum --itemize-changes /tmp/tree/ $A/synced/ > /tmp/changes
      ! grep '^[<>]f' /tmp/changes
      diff -r /tmp/tree $B/synced; rm -r $A/synced`,
    git: `
      export HOME=/tmp GIT_EXEC_PATH=/usr/lib/git-core GIT_AUTHOR_DATE=2001-01-01T00:00:00Z GIT_COMMITTER_DATE=2001-01-01T00:00:00Z
      git config --global safe.directory '*'; git config --global user.email a@b; git config --global user.name a
      git config --global core.fileMode false
      [ -d /tmp/source.git ] || tar xf /tmp/source.tar -C /tmp
      cp -r /tmp/source.git $A/source.git
      work_in() {
        git clone --quiet --no-hardlinks $1/source.git $1/clone 2>&1 | grep -v templates || true
        git -C $1/clone fsck --full --strict --no-progress
        [ -z "$(git -C $1/clone status --porcelain)" ]
        echo more > $1/clone/more; git -C $1/clone add more; git -C $1/clone commit --quiet -m more
        git -C $1/clone gc --quiet; git -C $1/clone fsck --full --strict --no-progress
        git -C $1/clone rev-parse HEAD > /tmp/head
      }
      work_in /tmp; mv /tmp/head /tmp/head.local; work_in $A; cmp /tmp/head /tmp/head.local
      rm -r /tmp/clone/.git $A/clone/.git; diff -r /tmp/clone $B/clone
      rm -rf /tmp/clone $A/clone $A/source.git`,
    // Where SQLite works at all: its locks turn a shared range into an exclusive one, which the kernel itself refuses (docs/limits.md). With
    // nobrl locks stay in the machine, lock files reach all.
    sqlite: `
      umount $A; mount_a nobrl
      sql() { sqlite3 -bail -vfs $vfs -cmd '.timeout 100000' "$@"; }
      writer() { i=0; while [ $i -lt ${rows} ]; do sql $1/base.db "INSERT INTO t VALUES('$2', $i)"; i=$((i + 1)); done; }
      both() {
        sql $1/base.db 'PRAGMA journal_mode=DELETE; CREATE TABLE t(who TEXT, i INTEGER)' > /dev/null
        writer $1 one & first=$!; writer $2 two & second=$!
        wait $first; wait $second
        sql $2/base.db 'PRAGMA mmap_size=1000000; SELECT * FROM t ORDER BY who, i; PRAGMA integrity_check' | sed 1d > /tmp/rows.$3
        rm $1/base.db
      }
      vfs=unix both /tmp /tmp local; [ $(wc -l < /tmp/rows.local) = ${2 * rows + 1} ]
      vfs=unix both $A $A share; cmp /tmp/rows.local /tmp/rows.share
      umount $A; mount_a
      vfs=unix-dotfile both $A $B share; cmp /tmp/rows.local /tmp/rows.share`,
    'random-io': `
      random-io $A/random ${seed} ${operations} /tmp/random
      cmp $A/random /tmp/random; cmp $B/random /tmp/random
      umount $A; mount_a; cmp $A/random /tmp/random; rm $A/random /tmp/random`,
    locks: `
      locks /tmp /tmp ${rounds}
      locks $A $B ${rounds}`,
  };
}
