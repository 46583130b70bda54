package import Model

/// Writes a tar archive piece by piece, in the pax interchange format (POSIX.1-2017, `pax`): ustar headers, with extended headers
/// before what does not fit into one. Everything goes to the same output.
///
/// Names are bytes and stay as they are. Times have nanoseconds, extended attributes and access control lists are records
/// `SCHILY.xattr.NAME` as GNU tar, star and libarchive know them, and holes are left out in the way of GNU's sparse format 1.0.
package struct TarWriter {
    package typealias Output = (UnsafeRawBufferPointer) throws -> Void

    /// Everything about a name but its contents.
    package struct Member {
        /// Relative; a directory's without a slash at its end.
        package var name: [UInt8]
        package var kind: EntryKind
        package var mode: UInt16
        package var uid: UInt32
        package var gid: UInt32
        package var user: [UInt8]
        package var group: [UInt8]
        package var mtime: FileTime
        /// Of a symbolic link.
        package var target: [UInt8]
        /// Major (upper 32 bits) and minor number of a device.
        package var device: UInt64
        package var attributes: [ExtendedAttribute]

        package init(name: [UInt8], _ entry: Entry, attributes: [ExtendedAttribute]) {
            self.name = name
            kind = entry.kind
            mode = entry.mode
            uid = entry.uid
            gid = entry.gid
            user = entry.user
            group = entry.group
            mtime = entry.mtime
            target = entry.target
            device = entry.device
            self.attributes = attributes
        }
    }

    /// A part of a sparse file that is no hole.
    package struct DataRange: Hashable, Sendable {
        package var offset: UInt64
        package var length: UInt64

        package init(offset: UInt64, length: UInt64) {
            self.offset = offset
            self.length = length
        }
    }

    private static let block = 512
    private var offset: UInt64 = 0

    package init() {}

    // MARK: Members

    /// A directory, a symbolic link, a device or a pipe. Sockets are none of these: a tar archive has no room for them.
    package mutating func add(_ member: Member, to output: @escaping Output) throws {
        let type: UInt8 =
            switch member.kind {
            case .directory: UInt8(ascii: "5")
            case .symbolicLink: UInt8(ascii: "2")
            case .characterDevice: UInt8(ascii: "3")
            case .blockDevice: UInt8(ascii: "4")
            case .fifo: UInt8(ascii: "6")
            case .regular, .socket: UInt8(ascii: "0")
            }
        try head(member, type, size: 0, link: member.target, [], output)
    }

    /// A further name of a file that is in the archive already.
    package mutating func addHardLink(_ member: Member, to first: [UInt8], _ output: @escaping Output) throws {
        var member = member
        // What belongs to the file came with its first name.
        member.attributes = []
        try head(member, UInt8(ascii: "1"), size: 0, link: first, [], output)
    }

    /// A file of which the size is known. Throws `damaged` when `content` writes something else.
    package mutating func addFile(
        _ member: Member, size: UInt64, to output: @escaping Output, _ content: (@escaping Output) throws -> Void
    ) throws {
        try head(member, UInt8(ascii: "0"), size: size, link: [], [], output)
        try pour(size, output, content)
    }

    /// A file with holes: `content` writes the bytes of the ranges, one after the other.
    ///
    /// - Parameter ranges: in order, without overlap, none of them empty.
    package mutating func addSparseFile(
        _ member: Member, size: UInt64, ranges: [DataRange], to output: @escaping Output,
        _ content: (@escaping Output) throws -> Void
    ) throws {
        // The map stands before the data: the number of ranges, and each one's place and length. A last range without length
        // says how long the file is.
        var map = Array("\(ranges.count + 1)\n".utf8)
        for range in ranges { map += Array("\(range.offset)\n\(range.length)\n".utf8) }
        map += Array("\(size)\n0\n".utf8)
        map += [UInt8](repeating: 0, count: Self.padding(UInt64(map.count)))
        let data = ranges.reduce(UInt64(0)) { $0 + $1.length }
        let records: [(String, [UInt8])] = [
            ("GNU.sparse.major", [UInt8(ascii: "1")]), ("GNU.sparse.minor", [UInt8(ascii: "0")]),
            ("GNU.sparse.name", member.name), ("GNU.sparse.realsize", Array("\(size)".utf8)),
        ]
        var shown = member
        // Programs that do not know the format see this name.
        let slash = member.name.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        shown.name = member.name[..<slash] + Array("GNUSparseFile.0/".utf8) + member.name[slash...]
        try head(shown, UInt8(ascii: "0"), size: UInt64(map.count) + data, link: [], records, output)
        try write(map, output)
        try pour(data, output, content)
    }

    /// The end of the archive.
    package mutating func finish(to output: @escaping Output) throws {
        try write([UInt8](repeating: 0, count: 2 * Self.block), output)
        // GNU tar reads in records of 20 blocks, and says so when the last one is short.
        let rest = Int(offset % 10_240)
        if rest > 0 { try write([UInt8](repeating: 0, count: 10_240 - rest), output) }
    }

    private mutating func pour(
        _ size: UInt64, _ output: @escaping Output, _ content: (@escaping Output) throws -> Void
    ) throws {
        var written: UInt64 = 0
        try content { bytes in
            written += UInt64(bytes.count)
            guard written <= size else { throw Self.wrongLength }
            try output(bytes)
        }
        guard written == size else { throw Self.wrongLength }
        offset += size
        let padding = Self.padding(size)
        if padding > 0 { try write([UInt8](repeating: 0, count: padding), output) }
    }

    private static let wrongLength = HoldfastError(.damaged, "a file has another length than its entry says")

    private static func padding(_ size: UInt64) -> Int { Int((512 - size % 512) % 512) }

    private mutating func write(_ bytes: [UInt8], _ output: Output) throws {
        offset += UInt64(bytes.count)
        try bytes.withUnsafeBytes { try output($0) }
    }

    // MARK: Headers

    private mutating func head(
        _ member: Member, _ type: UInt8, size: UInt64, link: [UInt8], _ further: [(String, [UInt8])],
        _ output: Output
    ) throws {
        var records = further
        let name = member.kind == .directory ? member.name + [UInt8(ascii: "/")] : member.name
        if !Self.fits(name, 100) { records.append(("path", name)) }
        if !Self.fits(link, 100) { records.append(("linkpath", link)) }
        if size > Self.most(11) { records.append(("size", Array("\(size)".utf8))) }
        if UInt64(member.uid) > Self.most(7) { records.append(("uid", Array("\(member.uid)".utf8))) }
        if UInt64(member.gid) > Self.most(7) { records.append(("gid", Array("\(member.gid)".utf8))) }
        if !Self.fits(member.user, 31) { records.append(("uname", member.user)) }
        if !Self.fits(member.group, 31) { records.append(("gname", member.group)) }
        let isPlainTime =
            member.mtime.nanoseconds == 0 && member.mtime.seconds >= 0
            && UInt64(clamping: member.mtime.seconds) <= Self.most(11)
        if !isPlainTime { records.append(("mtime", Array(Self.text(member.mtime).utf8))) }
        for attribute in member.attributes {
            // A record's name ends at the first equals sign.
            guard !attribute.name.contains(UInt8(ascii: "=")) else { continue }
            let name = String(decoding: attribute.name, as: UTF8.self)
            records.append(("SCHILY.xattr." + name, attribute.value))
            // GNU tar takes lists from text alone.
            if let keyword = Self.lists[name], let text = Self.list(attribute.value) { records.append((keyword, text)) }
        }
        if !records.isEmpty {
            let body = records.reduce(into: [UInt8]()) { $0 += Self.record($1.0, $1.1) }
            var own = member
            own.mode = 0o644
            own.mtime = FileTime(seconds: 0, nanoseconds: 0)
            try write(
                Self.header(
                    own, Array("PaxHeaders/".utf8) + name.suffix(80), UInt8(ascii: "x"), UInt64(body.count), []),
                output)
            try write(body + [UInt8](repeating: 0, count: Self.padding(UInt64(body.count))), output)
        }
        try write(Self.header(member, name, type, size, link), output)
    }

    private static let lists = [
        "system.posix_acl_access": "SCHILY.acl.access", "system.posix_acl_default": "SCHILY.acl.default",
    ]

    /// An access control list as text (`acl(5)`, short form, numbers for names); `nil` for what is no list.
    static func list(_ bytes: [UInt8]) -> [UInt8]? {
        func number(_ offset: Int, _ count: Int) -> UInt32 {
            (0..<count).reduce(UInt32(0)) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
        }
        guard bytes.count >= 4, (bytes.count - 4) % 8 == 0, number(0, 4) == 2 else { return nil }
        var parts: [String] = []
        for offset in stride(from: 4, to: bytes.count, by: 8) {
            let (bits, id) = (number(offset + 2, 2), number(offset + 4, 4))
            let who: String
            switch number(offset, 2) {
            case 0x01: who = "user::"
            case 0x02: who = "user:\(id):"
            case 0x04: who = "group::"
            case 0x08: who = "group:\(id):"
            case 0x10: who = "mask::"
            case 0x20: who = "other::"
            default: return nil
            }
            parts.append(who + (bits & 4 != 0 ? "r" : "-") + (bits & 2 != 0 ? "w" : "-") + (bits & 1 != 0 ? "x" : "-"))
        }
        return Array(parts.joined(separator: ",").utf8)
    }

    /// `LENGTH KEYWORD=VALUE\n`, where the length counts itself.
    static func record(_ keyword: String, _ value: [UInt8]) -> [UInt8] {
        let rest = [UInt8(ascii: " ")] + Array(keyword.utf8) + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count != length { length = String(length).utf8.count + rest.count }
        return Array(String(length).utf8) + rest
    }

    private static func fits(_ text: [UInt8], _ length: Int) -> Bool {
        text.count <= length && text.allSatisfy { $0 < 0x80 && $0 >= 0x20 }
    }

    /// The largest number of so many octal digits.
    private static func most(_ digits: Int) -> UInt64 { 1 << UInt64(3 * digits) - 1 }

    /// Seconds with a fraction; times before 1970 are counted down from it.
    static func text(_ time: FileTime) -> String {
        let isNegative = time.seconds < 0
        var (seconds, nanoseconds) = (time.seconds.magnitude, time.nanoseconds)
        if isNegative, nanoseconds > 0 {
            seconds -= 1
            nanoseconds = 1_000_000_000 - nanoseconds
        }
        var text = (isNegative ? "-" : "") + String(seconds)
        if nanoseconds > 0 {
            var digits = String(1_000_000_000 + UInt64(nanoseconds)).dropFirst()
            while digits.last == "0" { digits.removeLast() }
            text += "." + digits
        }
        return text
    }

    private static func header(
        _ member: Member, _ name: [UInt8], _ type: UInt8, _ size: UInt64, _ link: [UInt8]
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        func put(_ text: [UInt8], at offset: Int, _ length: Int) {
            for (index, byte) in text.prefix(length).enumerated() { bytes[offset + index] = byte }
        }
        func put(_ number: UInt64, at offset: Int, digits: Int) {
            let text = String(min(number, most(digits)), radix: 8)
            put(Array((String(repeating: "0", count: digits - text.count) + text).utf8), at: offset, digits)
        }
        put(plain(name), at: 0, 100)
        put(UInt64(member.mode & 0o7777), at: 100, digits: 7)
        put(UInt64(member.uid), at: 108, digits: 7)
        put(UInt64(member.gid), at: 116, digits: 7)
        put(size, at: 124, digits: 11)
        put(UInt64(max(member.mtime.seconds, 0)), at: 136, digits: 11)
        bytes[156] = type
        put(plain(link), at: 157, 100)
        put(Array("ustar".utf8), at: 257, 5)
        put(Array("00".utf8), at: 263, 2)
        put(plain(member.user), at: 265, 31)
        put(plain(member.group), at: 297, 31)
        let isDevice = type == UInt8(ascii: "3") || type == UInt8(ascii: "4")
        put(isDevice ? member.device >> 32 : 0, at: 329, digits: 7)
        put(isDevice ? member.device & 0xFFFF_FFFF : 0, at: 337, digits: 7)
        // The checksum is made with spaces in its own place.
        for index in 148..<156 { bytes[index] = UInt8(ascii: " ") }
        let sum = bytes.reduce(UInt64(0)) { $0 + UInt64($1) }
        put(sum, at: 148, digits: 6)
        bytes[154] = 0
        return bytes
    }

    /// What stands in the header itself is ASCII; the real name comes before it.
    private static func plain(_ name: [UInt8]) -> [UInt8] {
        name.map { $0 < 0x80 && $0 >= 0x20 ? $0 : UInt8(ascii: "_") }
    }
}
