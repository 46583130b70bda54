import CLinux

/// What happened, as bits.
package struct FanotifyMask: OptionSet, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let created = FanotifyMask(rawValue: HF_FAN_CREATE)
    package static let deleted = FanotifyMask(rawValue: HF_FAN_DELETE)
    /// A rename with both names in one event (Linux 5.17).
    package static let renamed = FanotifyMask(rawValue: HF_FAN_RENAME)
    package static let movedFrom = FanotifyMask(rawValue: HF_FAN_MOVED_FROM)
    package static let movedTo = FanotifyMask(rawValue: HF_FAN_MOVED_TO)
    package static let modified = FanotifyMask(rawValue: HF_FAN_MODIFY)
    /// Somebody who could write closed the file or unmapped it; whether something was written is not known.
    package static let closedAfterWriting = FanotifyMask(rawValue: HF_FAN_CLOSE_WRITE)
    /// Mode, owner, times, attributes or the number of links.
    package static let attributes = FanotifyMask(rawValue: HF_FAN_ATTRIB)
    /// It happened to a directory; in a watch's mask: directories are wanted too.
    package static let directory = FanotifyMask(rawValue: HF_FAN_ONDIR)
    /// In a mask to ignore: it holds for what lies in the directory.
    package static let onChild = FanotifyMask(rawValue: HF_FAN_EVENT_ON_CHILD)
    /// The queue was full: events were lost, nobody knows which.
    package static let overflow = FanotifyMask(rawValue: HF_FAN_Q_OVERFLOW)
}

/// What a file system knows a file by (a `struct file_handle`), as it stands in the buffer of events.
package struct FanotifyHandle {
    /// The file system's identity.
    package let fileSystem: UInt64
    /// Length, type and the file system's own bytes. Valid as long as the buffer.
    package let bytes: UnsafeRawBufferPointer
}

/// A name in a directory.
package struct FanotifyName {
    package let directory: FanotifyHandle
    /// Without terminator; `.` is the directory itself; empty where the kernel said no name. Valid as long as the buffer.
    package let name: UnsafeRawBufferPointer
}

/// One event. Its parts point into the buffer it was read from.
package struct FanotifyEvent {
    package let mask: FanotifyMask
    /// The process (not the thread) that did it; 0 when it is in another process namespace.
    package let process: Int32
    /// Where it happened.
    package fileprivate(set) var place: FanotifyName?
    /// What it happened to.
    package fileprivate(set) var object: FanotifyHandle?
    /// Of a rename: the name before.
    package fileprivate(set) var from: FanotifyName?
    /// Of a rename: the name after.
    package fileprivate(set) var to: FanotifyName?
}

/// Reads the records that the kernel puts into a buffer. Nothing is copied, and no bytes whatsoever make it read beyond
/// the buffer.
///
/// ```
/// var events = FanotifyEvents(buffer)
/// while let event = events.next() { ... }
/// if events.isDamaged { /* what came behind is lost */ }
/// ```
package struct FanotifyEvents {
    private let buffer: UnsafeRawBufferPointer
    private var position = 0
    /// A record made no sense: what stood behind it cannot be known.
    package private(set) var isDamaged = false

    // struct fanotify_event_metadata: u32 length, u8 version, u8, u16 length of this part, u64 mask, i32 file, i32 process
    private static let metadataSize = 24
    // struct fanotify_event_info_fid: u8 type, u8, u16 length; u64 file system; then u32 length, i32 type of the handle
    private static let handleOffset = 12
    private static let handleHeader = 8
    /// The kernel's MAX_HANDLE_SZ.
    private static let longestHandle = 128
    private static let longestName = 255

    package init(_ buffer: UnsafeRawBufferPointer) { self.buffer = buffer }

    /// The next event, `nil` at the end of the buffer or of what makes sense.
    package mutating func next() -> FanotifyEvent? {
        let left = buffer.count - position
        if isDamaged || left == 0 { return nil }
        guard left >= FanotifyEvents.metadataSize else { return damaged() }
        let length = Int(load(position, as: UInt32.self))
        let version = buffer[position + 4]
        let header = Int(load(position + 6, as: UInt16.self))
        guard version == HF_FAN_METADATA_VERSION, length <= left, header >= FanotifyEvents.metadataSize,
            header <= length
        else { return damaged() }
        var event = FanotifyEvent(
            mask: FanotifyMask(rawValue: load(position + 8, as: UInt64.self)),
            process: load(position + 20, as: Int32.self))
        let end = position + length
        var record = position + header
        while record < end {
            guard end - record >= 4 else { return damaged() }
            let size = Int(load(record + 2, as: UInt16.self))
            guard size >= 4, size <= end - record, take(record, size, into: &event) else { return damaged() }
            record += size
        }
        position = end
        return event
    }

    /// Takes one record of information; false when it makes no sense. Kinds that are not known are passed over.
    private func take(_ start: Int, _ size: Int, into event: inout FanotifyEvent) -> Bool {
        let type = buffer[start]
        switch type {
        case HF_FAN_INFO_FID, HF_FAN_INFO_DFID, HF_FAN_INFO_DFID_NAME, HF_FAN_INFO_OLD_DFID_NAME,
            HF_FAN_INFO_NEW_DFID_NAME:
            break
        default: return true
        }
        let data = start + FanotifyEvents.handleOffset + FanotifyEvents.handleHeader
        guard start + size >= data else { return false }
        let count = Int(load(start + FanotifyEvents.handleOffset, as: UInt32.self))
        guard count <= FanotifyEvents.longestHandle, data + count <= start + size else { return false }
        let handle = FanotifyHandle(
            fileSystem: load(start + 4, as: UInt64.self),
            bytes: slice(start + FanotifyEvents.handleOffset, FanotifyEvents.handleHeader + count))
        if type == HF_FAN_INFO_FID {
            event.object = handle
            return true
        }
        var name = slice(data + count, 0)
        if type != HF_FAN_INFO_DFID {
            let rest = slice(data + count, start + size - data - count)
            guard let end = rest.firstIndex(of: 0), end <= FanotifyEvents.longestName,
                !rest[..<end].contains(UInt8(ascii: "/"))
            else { return false }
            name = UnsafeRawBufferPointer(rebasing: rest[..<end])
        }
        let place = FanotifyName(directory: handle, name: name)
        switch type {
        case HF_FAN_INFO_OLD_DFID_NAME: event.from = place
        case HF_FAN_INFO_NEW_DFID_NAME: event.to = place
        default: event.place = place
        }
        return true
    }

    private mutating func damaged() -> FanotifyEvent? {
        isDamaged = true
        return nil
    }

    private func load<T: BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
        buffer.loadUnaligned(fromByteOffset: offset, as: type)
    }

    private func slice(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: buffer[offset..<(offset + count)])
    }
}
