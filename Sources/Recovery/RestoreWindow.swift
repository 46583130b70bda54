import Model
import Platform
import Synchronization

/// A part of one file that comes out of one blob.
struct Slice {
    /// Index of the file in the window.
    var job: Int32
    /// Index of the blob in the window.
    var blob: Int32
    var blobOffset: UInt32
    var length: UInt32
    var fileOffset: UInt64
}

/// Files that follow each other in the tree, and the blobs they need, each once.
///
/// The planner fills a window and submits it; workers take it apart by blobs, so that a blob that many files share is
/// opened once, and whatever order the store gives blobs in is fine. Only what is to be written is held, no content.
final class RestoreWindow: @unchecked Sendable {
    // Sound: filled by the planner alone; after `seal` nothing in it changes but the counter.

    let number: Int
    private(set) var jobs: [FileJob] = []
    private(set) var keys: [ContentKey] = []
    private(set) var slices: [Slice] = []
    var links: [PendingLink] = []
    private(set) var bytes: UInt64 = 0
    private var places: [ContentKey: Int32] = [:]
    /// Where the slices of each blob begin in `slices`, once it is sealed.
    private var starts: [Int32] = []
    let remaining = Atomic<Int>(0)

    init(number: Int) { self.number = number }

    var isEmpty: Bool { jobs.isEmpty && links.isEmpty }

    /// Adds a file whose slices follow; a file that was begun in an earlier window is added again.
    func add(_ job: FileJob) { jobs.append(job) }

    /// Adds a slice of the file added last.
    func add(_ key: ContentKey, blobOffset: UInt32, length: UInt32, fileOffset: UInt64) {
        let blob: Int32
        if let known = places[key] {
            blob = known
        } else {
            blob = Int32(keys.count)
            places[key] = blob
            keys.append(key)
        }
        jobs[jobs.count - 1].retain()
        slices.append(
            Slice(
                job: Int32(jobs.count - 1), blob: blob, blobOffset: blobOffset, length: length, fileOffset: fileOffset))
        bytes += UInt64(length)
    }

    /// Sorts the slices by blob and cuts the blobs into batches for workers.
    func seal() -> [RestoreBatch] {
        places = [:]
        var counts = [Int32](repeating: 0, count: keys.count + 1)
        for slice in slices { counts[Int(slice.blob) + 1] += 1 }
        for index in 1..<max(counts.count, 1) where index < counts.count { counts[index] += counts[index - 1] }
        starts = counts
        var next = counts
        var sorted = slices
        for slice in slices {
            sorted[Int(next[Int(slice.blob)])] = slice
            next[Int(slice.blob)] += 1
        }
        slices = sorted
        var batches: [RestoreBatch] = []
        var first = 0
        var weight = 0
        for blob in keys.indices {
            weight += self.slices(of: blob).reduce(0) { max($0, Int($1.blobOffset) + Int($1.length)) }
            if weight >= RestoreBatch.bytes || blob + 1 - first >= RestoreBatch.blobs || blob + 1 == keys.count {
                batches.append(RestoreBatch(window: self, blobs: first..<(blob + 1)))
                first = blob + 1
                weight = 0
            }
        }
        remaining.store(batches.count, ordering: .releasing)
        return batches
    }

    func slices(of blob: Int) -> ArraySlice<Slice> { slices[Int(starts[blob])..<Int(starts[blob + 1])] }
}

/// Some blobs of a window for one worker.
struct RestoreBatch: Sendable {
    /// About so much content in one request to the vault: large enough that neighbours in a pack are read together, small
    /// enough that workers finish together.
    static let bytes = 6 << 20
    static let blobs = 48

    let window: RestoreWindow
    let blobs: Range<Int>
}

/// Completes windows in the order in which they were made: a further name of a hard-linked file waits for all files
/// before it.
final class WindowLedger: @unchecked Sendable {
    // Sound: everything is guarded by the gate.
    private let gate = Gate()
    private var done: [Int: RestoreWindow] = [:]
    private var next = 0
    private var settled = 0
    private var failure: (any Error)?

    /// Notes that all batches of a window are done. `settle` runs for each window whose turn has come.
    func complete(_ window: RestoreWindow, settle: (RestoreWindow) throws -> Void) throws {
        gate.lock()
        done[window.number] = window
        var ready: [RestoreWindow] = []
        while let window = done.removeValue(forKey: next) {
            ready.append(window)
            next += 1
        }
        gate.unlock()
        for window in ready {
            try settle(window)
            gate.lock()
            settled += 1
            gate.broadcast(0)
            gate.unlock()
        }
    }

    /// Waits until so many windows are settled.
    func wait(for count: Int) throws {
        gate.lock()
        defer { gate.unlock() }
        while settled < count, failure == nil { gate.wait(0) }
        if let failure { throw failure }
    }

    /// Ends all waiting with an error.
    func fail(_ error: any Error) {
        gate.lock()
        if failure == nil { failure = error }
        gate.broadcast(0)
        gate.unlock()
    }
}
