import Model
import Platform

/// A sign of life: a write to a file whose event must come, or the source of events is dead.
///
/// The file has no name where the file system knows such files, so that nobody ever sees it and no directory's times
/// change. Else it is a file in the caller's place.
struct Heartbeat {
    private static let name = Array(".holdfast-heartbeat".utf8)

    /// The handle of the file of the last beat.
    private var awaited: [UInt8]?
    private var isAnswered = false
    /// When an event of a beat was seen last.
    private(set) var seen: Int64?

    /// A beat was sent, and its event has not come.
    var isMissing: Bool { awaited != nil && !isAnswered }

    enum Outcome: Equatable {
        case sent
        /// It cannot be done here: the file system is full or read-only, or the place is missing.
        case impossible
    }

    /// Writes. An earlier beat is forgotten.
    /// - Parameters:
    ///   - directory: any directory on the file system.
    ///   - own: a directory on it that belongs to the caller, for a file with a name.
    mutating func send(directory: Int32, own: TreePath?) -> Outcome {
        awaited = nil
        isAnswered = false
        if let file = try? FileDescriptor.open(at: directory, [UInt8(ascii: ".")], [.writeOnly, .unnamed]) {
            return touch(file)
        }
        guard let own, let place = try? FileDescriptor.open([UInt8(ascii: "/")] + own.bytes, [.readOnly, .directory]),
            let file = try? FileDescriptor.open(
                at: place.raw, Heartbeat.name, [.writeOnly, .create, .truncate], mode: 0o600)
        else { return .impossible }
        return touch(file)
    }

    private mutating func touch(_ file: borrowing FileDescriptor) -> Outcome {
        guard let handle = try? FileHandle.of(file.raw) else { return .impossible }
        awaited = handle
        // A full disk does not matter: closing raises the event just as well.
        try? file.writeAll([0])
        return .sent
    }

    /// Whether an event is that of the last beat; one file raises several.
    mutating func recognizes(_ object: UnsafeRawBufferPointer, at now: Int64) -> Bool {
        guard let awaited, awaited.count == object.count, object.elementsEqual(awaited) else { return false }
        seen = now
        isAnswered = true
        return true
    }

    /// Forgets a beat: its event is not to be expected any more.
    mutating func forget() { awaited = nil }
}
