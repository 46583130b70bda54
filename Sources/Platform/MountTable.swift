import CLinux

/// One line of `/proc/self/mountinfo`. Paths are bytes; escapes are undone.
package struct MountEntry: Hashable, Sendable {
    package var id: UInt64
    package var parent: UInt64
    /// major << 32 | minor: the same for all mounts of a file system. (That of a file's status differs on btrfs.)
    package var device: UInt64
    /// What of the file system is mounted, from its top; begins with a slash. `/` is all of it.
    package var root: [UInt8]
    /// Where, from the root of this process; begins with a slash.
    package var mountPoint: [UInt8]
    /// Nothing can be written through this mount.
    package var isReadOnly: Bool
    /// For example `ext4` or `fuse.sshfs`.
    package var type: String
    /// A device or whatever the file system calls its source.
    package var source: [UInt8]
    /// Options of the file system, with the kernel's escapes: see `option`.
    package var superOptions: [UInt8]

    package init(
        id: UInt64, parent: UInt64, device: UInt64, root: [UInt8], mountPoint: [UInt8], isReadOnly: Bool = false,
        type: String, source: [UInt8] = [], superOptions: [UInt8] = []
    ) {
        self.id = id
        self.parent = parent
        self.device = device
        self.root = root
        self.mountPoint = mountPoint
        self.isReadOnly = isReadOnly
        self.type = type
        self.source = source
        self.superOptions = superOptions
    }

    /// The value of an option `name=value` of the file system, escapes undone.
    package func option(_ name: String) -> [UInt8]? {
        let key = Array("\(name)=".utf8)
        // The kernel writes a comma in a value as an escape, so the options are cut first.
        guard let found = superOptions.split(separator: UInt8(ascii: ",")).first(where: { $0.starts(with: key) })
        else { return nil }
        return MountTable.unescape(found.dropFirst(key.count))
    }
}

/// What is mounted where.
package struct MountTable: Hashable, Sendable {
    /// In the kernel's order: of two mounts on the same place the later hides the earlier.
    package var entries: [MountEntry]

    package init(entries: [MountEntry]) { self.entries = entries }

    /// The most that is read: some 100,000 mounts.
    private static let sizeLimit = 64 << 20

    /// The table as it is now.
    package static func current() throws(Errno) -> MountTable {
        MountTable(
            parsing: try FileDescriptor.open(Array("/proc/self/mountinfo".utf8), .readOnly).readAll(limit: sizeLimit))
    }

    /// Lines that make no sense are left out.
    package init(parsing text: [UInt8]) {
        entries = text.split(separator: UInt8(ascii: "\n")).compactMap { MountTable.entry($0) }
    }

    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    private static func entry(_ line: ArraySlice<UInt8>) -> MountEntry? {
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard let dash = fields.dropFirst(6).firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
            fields.count >= dash + 4, let id = number(fields[0]), let parent = number(fields[1])
        else { return nil }
        let device = fields[2].split(separator: UInt8(ascii: ":"))
        guard device.count == 2, let major = number(device[0]), let minor = number(device[1]), major <= UInt32.max,
            minor <= UInt32.max
        else { return nil }
        let root = unescape(fields[3])
        let mountPoint = unescape(fields[4])
        guard root.first == UInt8(ascii: "/"), mountPoint.first == UInt8(ascii: "/") else { return nil }
        return MountEntry(
            id: id, parent: parent, device: major << 32 | minor, root: root, mountPoint: mountPoint,
            isReadOnly: fields[5].split(separator: UInt8(ascii: ",")).contains { $0.elementsEqual("ro".utf8) },
            type: String(decoding: unescape(fields[dash + 1]), as: UTF8.self), source: unescape(fields[dash + 2]),
            superOptions: Array(fields[dash + 3]))
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
        if digits.isEmpty || digits.count > 19 { return nil }
        var value: UInt64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            value = value * 10 + UInt64(digit - UInt8(ascii: "0"))
        }
        return value
    }

    /// Undoes the kernel's escapes: a backslash and three octal digits.
    package static func unescape(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var index = text.startIndex
        while index < text.endIndex {
            if text[index] == UInt8(ascii: "\\"), text.endIndex - index > 3 {
                let digits = text[(index + 1)...(index + 3)].map { Int($0) - 48 }
                if digits.allSatisfy({ (0...7).contains($0) }), digits[0] <= 3 {
                    result.append(UInt8(digits[0] << 6 | digits[1] << 3 | digits[2]))
                    index += 4
                    continue
                }
            }
            result.append(text[index])
            index += 1
        }
        return result
    }
}
