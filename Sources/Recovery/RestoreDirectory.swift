import Model
import Platform
import Synchronization

/// A name for system calls: its bytes and a terminator.
struct TerminatedName: Hashable, Sendable {
    let bytes: [UInt8]

    /// A name without zero bytes, as trees and directories have them.
    init(_ name: some Collection<UInt8>) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(name.count + 1)
        bytes.append(contentsOf: name)
        bytes.append(0)
        self.bytes = bytes
    }

    /// The name without its terminator.
    var name: ArraySlice<UInt8> { bytes.dropLast() }

    @inline(__always)
    func withPointer<R: ~Copyable>(_ body: (UnsafePointer<CChar>) throws(Errno) -> R) throws(Errno) -> R {
        // The array's own method does not return values that cannot be copied.
        var result: R?
        try bytes.withUnsafeBufferPointer { (buffer) throws(Errno) -> Void in
            result = try body(
                UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped).assumingMemoryBound(to: CChar.self))
        }
        return result.take()!
    }
}

/// An open file or directory, closed with its last user.
final class OpenHandle: Sendable {
    /// How many are open now, in all restores of the process.
    static let openCount = Atomic<Int>(0)

    let descriptor: FileDescriptor

    /// It stands for a directory that can be entered and not read.
    let isReference: Bool

    init(_ descriptor: consuming FileDescriptor, isReference: Bool = false) {
        self.descriptor = descriptor
        self.isReference = isReference
        OpenHandle.openCount.wrappingAdd(1, ordering: .relaxed)
    }

    deinit { OpenHandle.openCount.wrappingSubtract(1, ordering: .relaxed) }

    var raw: Int32 { descriptor.raw }

    /// Opens a directory in which names are used, without following a link; as a reference when it cannot be read.
    static func passage(at directory: Int32, _ name: TerminatedName) throws(Errno) -> OpenHandle {
        var isReference = false
        let opened = try name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.openPassage(at: directory, pointer, isReference: &isReference)
        }
        return OpenHandle(opened, isReference: isReference)
    }
}

/// A directory of the destination while names in it are restored.
///
/// Everything that is to be done in it holds it back (`retain`); when the last is done (`release`) it gets its own
/// metadata, as the last thing that happens to it, and lets its parent go.
final class RestoreDirectory: @unchecked Sendable {
    // Sound: what is variable is guarded by the mutex or atomic; the rest is set before other threads see the value.

    let parent: RestoreDirectory?
    /// The name in the destination; empty for the destination itself.
    let name: TerminatedName
    /// Where it is in the destination, relative to its root, without a terminator.
    let path: [UInt8]
    /// Where it is in the point.
    let source: [UInt8]
    /// What the point has for it, when its metadata are to be set.
    var entry: Entry?
    var owner: Ownership?
    /// The modification time that it had and keeps although names are made in it, where its metadata stay as they are.
    var keptTime: FileInstant?
    /// Made by this restore: nothing stands in it that it did not make.
    var isNew = false
    /// Files may appear under their final names before they are complete.
    var allowsDirect = false
    /// New names in it get attributes or flags from it, which must be taken away again.
    var inherits = false
    /// New files in it belong to its group.
    var givesGroup = false
    /// It does not exist (only while planning).
    var isMissing = false
    /// What the point does not have may be removed.
    var removesExtra = false
    var device: UInt64 = 0
    var inode: UInt64 = 0

    private let handleState: Mutex<OpenHandle?>
    private let pending = Atomic<Int>(1)

    init(parent: RestoreDirectory?, name: TerminatedName, source: [UInt8], handle: OpenHandle?) {
        self.parent = parent
        self.name = name
        self.source = source
        if let parent, !parent.path.isEmpty {
            path = parent.path + [UInt8(ascii: "/")] + name.name
        } else {
            path = Array(name.name)
        }
        handleState = Mutex(handle)
        parent?.retain()
    }

    /// The path of a name in it, in the point.
    func sourcePath(_ name: some Collection<UInt8>) -> [UInt8] {
        source.isEmpty ? Array(name) : source + [UInt8(ascii: "/")] + name
    }

    /// The path of a name in it, in the destination.
    func destinationPath(_ name: some Collection<UInt8>) -> [UInt8] {
        path.isEmpty ? Array(name) : path + [UInt8(ascii: "/")] + name
    }

    func retain() { pending.wrappingAdd(1, ordering: .relaxed) }

    /// Whether that was the last to let go.
    func releaseIsLast() -> Bool { pending.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 }

    /// Closes the descriptor unless somebody uses it; it is opened again when needed.
    func dropHandle() {
        if parent == nil { return }
        handleState.withLock { $0 = nil }
    }

    /// The open directory. One that was closed is opened again from the nearest open one above, never through a link, and
    /// must be the same as before.
    func handle() throws(Errno) -> OpenHandle {
        if let open = handleState.withLock({ $0 }) { return open }
        var missing: [RestoreDirectory] = [self]
        var start: OpenHandle?
        while start == nil {
            guard let above = missing[missing.count - 1].parent else { throw .badDescriptor }
            start = above.handleState.withLock { $0 }
            if start == nil { missing.append(above) }
        }
        guard var here = start else { throw .badDescriptor }
        for directory in missing.reversed() {
            let raw = here.raw
            here = try OpenHandle.passage(at: raw, directory.name)
        }
        let status = try here.descriptor.status()
        guard status.inode == inode, status.device == device else { throw .stale }
        let found = here
        handleState.withLock { $0 = found }
        return here
    }
}
