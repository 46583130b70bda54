import Glibc
import Model
import Platform
import Synchronization
import Vault

/// How a database is read, one way after the other: first without hindering anybody, then holding what a reading program holds.
struct DatabaseAttempts {
    /// One way to read it, after a pause in milliseconds.
    struct Attempt: Equatable {
        var pause: UInt32
        var holds: Bool
    }

    private static let all = [
        Attempt(pause: 0, holds: false), Attempt(pause: 25, holds: false), Attempt(pause: 50, holds: false),
        Attempt(pause: 0, holds: true), Attempt(pause: 50, holds: true), Attempt(pause: 200, holds: true),
        Attempt(pause: 500, holds: true), Attempt(pause: 1000, holds: true), Attempt(pause: 2000, holds: true),
    ]
    private var index = 0

    /// The next, `nil` after the last.
    mutating func next() -> Attempt? {
        guard index < DatabaseAttempts.all.count else { return nil }
        defer { index += 1 }
        return DatabaseAttempts.all[index]
    }

    /// What one came to that ended with an error.
    ///
    /// - Returns: whether that is one after which another may be better.
    mutating func failed(_ error: Errno) -> Bool {
        switch error {
        case .again: return true
        case .timedOut, .tooLarge:
            // The next would take as long, or be as long: programs would be hindered for nothing.
            index = DatabaseAttempts.all.count
            return true
        default: return false
        }
    }

    /// There is no more to be tried, as when there is no place to take it to while it is held.
    mutating func giveUp() { index = DatabaseAttempts.all.count }
}

extension FileReader {
    /// A database longer than this is not read twice in vain.
    private static let longestTry: UInt64 = 64 << 20

    /// Reads an SQLite database as of one moment; see `SQLiteSnapshot`. Of one that is never at rest the last reading is
    /// kept, with a warning.
    func readDatabase(
        _ item: inout CaptureItem, _ file: DirectoryHandle, _ name: [UInt8], _ batch: CaptureBatch,
        _ slabUsed: inout Int
    ) throws {
        var known = item.cached?.chunks ?? []
        var knownPieces = item.cached?.pieces ?? []
        var last: (result: LargeFile, modified: FileInstant)?
        var isBundled = false
        let isStopped = { [progress] in progress.stopRequested.load(ordering: .relaxed) }
        var attempts = DatabaseAttempts()
        // Of one whose journal is touched again and again nothing can be told the next second either.
        let canTell = SQLiteSnapshot.settleJournal(
            name, at: item.directory!.raw, file, progress.patience, isStopped: isStopped)
        if !canTell { attempts.giveUp() }
        while let attempt = attempts.next() {
            if progress.stopRequested.load(ordering: .relaxed) {
                throw HoldfastError(.cancelled, "the backup was stopped")
            }
            if attempt.pause > 0 { usleep(attempt.pause * 1000) }
            if !attempt.holds, last != nil, item.status.size > FileReader.longestTry { continue }
            do {
                var taken = try SQLiteSnapshot.take(
                    file, at: item.directory!.raw, name, holds: attempt.holds, isStopped: isStopped)
                if taken == nil, attempt.holds, item.status.size <= FileReader.longestTry {
                    // Programs that keep it to themselves let nobody hold anything: there it has to be at rest for so long.
                    taken = try SQLiteSnapshot.take(
                        file, at: item.directory!.raw, name, holds: false, isStopped: isStopped)
                }
                guard let snapshot = taken else { continue }
                defer { snapshot.release() }
                if case .small = item.work, !isBundled, !attempt.holds, !snapshot.isLogged,
                    !snapshot.hasUnknownLog, snapshot.size == item.status.size
                {
                    // The usual one of a few kilobytes, at rest.
                    isBundled = true
                    if try readSmall(&item, file, batch, &slabUsed, isOnce: true), try isOneMoment(snapshot, file) {
                        return note(snapshot, item)
                    }
                    (item.content, item.contentHash) = (.none, nil)
                    continue
                }
                let result: LargeFile
                if attempt.holds, let staging, let staged = try staging.take(snapshot) {
                    guard try isOneMoment(snapshot, file) else { continue }
                    snapshot.release()
                    result = try read(.file(staged), snapshot.size, isSparse: false, known, knownPieces)
                    finish(result, snapshot, &item, batch)
                    return
                }
                // Without a place to take it to only a log keeps programs from waiting for the reading.
                if attempt.holds, !snapshot.isLogged, snapshot.size > FileReader.longestTry {
                    attempts.giveUp()
                    continue
                }
                result = try read(.database(snapshot), snapshot.size, isSparse: snapshot.isSparse, known, knownPieces)
                if try isOneMoment(snapshot, file) {
                    finish(result, snapshot, &item, batch)
                    return
                }
                (known, knownPieces) = try remembered(result)
                last = (result, snapshot.modified)
            } catch let error as Errno {
                // What else there is to try comes.
                if attempts.failed(error) { continue }
                skip(&item, error, batch)
                return
            }
        }
        if progress.stopRequested.load(ordering: .relaxed) {
            throw HoldfastError(.cancelled, "the backup was stopped")
        }
        try readRestless(&item, file, batch, last)
    }

    /// Reads a journal of a database, if that is what it is, as long as it is needed.
    ///
    /// - Returns: whether it is.
    func readJournal(
        _ item: inout CaptureItem, _ file: DirectoryHandle, _ name: [UInt8], _ batch: CaptureBatch,
        _ slabUsed: inout Int
    ) throws -> Bool {
        let isStopped = { [progress] in progress.stopRequested.load(ordering: .relaxed) }
        let directory = item.directory!.raw
        guard let isLeft = SQLiteSnapshot.isLeftBehind(name, at: directory, progress.patience, isStopped: isStopped)
        else { return false }
        if !isLeft {
            item.isGone = true
            return true
        }
        if case .small = item.work {
            try readSmall(&item, file, batch, &slabUsed)
        } else {
            try readLarge(&item, file, batch)
        }
        if SQLiteSnapshot.isLeftBehind(name, at: directory, progress.patience, isStopped: isStopped) != true,
            !item.isGone
        {
            item.isGone = true
            warn(
                .vanished, item, "a program took a broken transaction of this database back while the backup ran", batch
            )
        }
        return true
    }

    /// Keeps of a database that never is at rest what was read last, or the bytes of its file.
    private func readRestless(
        _ item: inout CaptureItem, _ file: DirectoryHandle, _ batch: CaptureBatch,
        _ last: (result: LargeFile, modified: FileInstant)?
    ) throws {
        if let last {
            take(last.result, &item)
            item.entry?.mtime = FileTime(last.modified)
        } else {
            do {
                let result = try read(
                    .file(file), item.status.size, isSparse: item.status.blocks < item.status.size / 512,
                    item.cached?.chunks ?? [], item.cached?.pieces ?? [])
                take(result, &item)
            } catch let error as Errno {
                skip(&item, error, batch)
                return
            }
        }
        item.isFresh = true
        item.entry?.remarks.insert(.fuzzy)
        warn(
            .changed, item,
            "this SQLite database was written all the time: what was read last is kept, and may not open", batch)
    }

    private func isOneMoment(_ snapshot: SQLiteSnapshot, _ file: DirectoryHandle) throws(Errno) -> Bool {
        try snapshot.isOneMoment { status, time in vouches(for: status, at: time, file) }
    }

    private func finish(
        _ result: LargeFile, _ snapshot: SQLiteSnapshot, _ item: inout CaptureItem, _ batch: CaptureBatch
    ) {
        take(result, &item)
        item.entry?.mtime = FileTime(snapshot.modified)
        // Its log goes on without its own times changing.
        if snapshot.isLogged { item.isFresh = true }
        note(snapshot, item)
        if snapshot.hasUnknownLog {
            item.isFresh = true
            item.entry?.remarks.insert(.fuzzy)
            warn(
                .changed, item,
                "the log of this SQLite database is of an unknown kind: both are kept as they are, and may not fit together",
                batch)
        }
    }

    private func note(_ snapshot: SQLiteSnapshot, _ item: CaptureItem) {
        guard snapshot.isInUse, let path = TreePath(key: item.key) else { return }
        progress.remarks.withLock { remarks in
            remarks.openDatabaseCount += 1
            if remarks.openDatabases.count < 16 { remarks.openDatabases.append(path) }
        }
    }
}
