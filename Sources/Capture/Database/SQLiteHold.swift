import Platform
import Synchronization

/// Locks for reading on a database and its log, as a reading program has them. Programs go on reading and writing; in a database
/// without log commits wait, or fail where a program does not wait.
///
/// They end by themselves, whatever the thread is doing that needs them: it may be waiting for a slow network.
final class SQLiteHold {
    private enum Place {
        /// Held by readers who use the database alone. Whoever puts pages from the log into it needs it for writing; whoever
        /// opens it after a crash does not (`walCheckpoint` and `walIndexRecover` in SQLite's `wal.c`).
        static let backfill: Range<UInt64> = 123..<124
        /// Held by readers of the log; whoever begins it anew needs all of them.
        static let lastReader: Range<UInt64> = 127..<128
    }

    /// What the thread shares that ends it.
    private final class State: Sendable {
        let file: DirectoryHandle
        let index: DirectoryHandle?
        let end: Int64
        private let outcome = Mutex<Outcome?>(nil)
        private let gate = Gate()

        init(_ file: DirectoryHandle, _ index: DirectoryHandle?, _ end: Int64) {
            self.file = file
            self.index = index
            self.end = end
        }

        var ended: Outcome? { outcome.withLock { $0 } }

        func finish(_ how: Outcome) {
            outcome.withLock { outcome in
                if outcome != nil { return }
                outcome = how
                file.descriptor.unlock(SQLiteFiles.Place.shared)
                index?.descriptor.unlock(Place.backfill)
                index?.descriptor.unlock(Place.lastReader)
            }
            gate.lock()
            gate.broadcast(0)
            gate.unlock()
        }

        private var isAlone: Bool {
            guard let index else { return false }
            let others =
                (try? index.descriptor.othersLock(on: SQLiteFiles.Place.users)) ?? FileDescriptor.OthersLock.none
            return others == FileDescriptor.OthersLock.none
        }

        /// Ends it in time, or when the last program that used the log is gone: the next one has to set that right.
        func watch() {
            gate.lock()
            defer { gate.unlock() }
            while ended == nil {
                let left = end - SystemClock.monotonic
                let isAlone = isAlone
                if left <= 0 || isAlone {
                    gate.unlock()
                    finish(isAlone ? .alone : .timedOut)
                    gate.lock()
                } else {
                    _ = gate.wait(0, nanoseconds: min(left, SQLiteHold.lookEvery))
                }
            }
        }
    }

    /// How it ended.
    enum Outcome {
        case released
        /// It lasted too long.
        case timedOut
        /// No program uses the log any more.
        case alone
    }

    /// How often is looked whether programs are still there, in nanoseconds.
    private static let lookEvery: Int64 = 500_000_000

    private let state: State

    /// How it ended, `nil` while it holds.
    var ended: Outcome? { state.ended }

    /// `nil` when somebody writes who lets nobody read, or puts the log into the database right now.
    ///
    /// - Parameters:
    ///   - index: of the log, when programs use one.
    ///   - nanoseconds: how long at most.
    init?(_ file: DirectoryHandle, index: DirectoryHandle?, nanoseconds: Int64) {
        state = State(file, index, SystemClock.monotonic + nanoseconds)
        guard SQLiteHold.share(file) else { return nil }
        if let index {
            guard (try? index.descriptor.lockForReading(Place.backfill)) == true,
                (try? index.descriptor.lockForReading(Place.lastReader)) == true
            else {
                state.finish(.released)
                return nil
            }
        }
        do throws(Errno) {
            _ = try WorkerThread(name: "holding") { [state] in state.watch() }
        } catch {
            // Nothing would end it.
            state.finish(.released)
            return nil
        }
    }

    deinit { state.finish(.released) }

    /// SQLite's way to a lock for reading. `false`: somebody is writing, or about to, or the file system has no locks.
    static func share(_ file: DirectoryHandle) -> Bool {
        guard (try? file.descriptor.lockForReading(SQLiteFiles.Place.pending)) == true else { return false }
        defer { file.descriptor.unlock(SQLiteFiles.Place.pending) }
        return (try? file.descriptor.lockForReading(SQLiteFiles.Place.shared)) == true
    }
}

extension Errno {
    /// Something could not be held for as long as it took (ETIMEDOUT).
    static let timedOut = Errno(code: 110)
}
