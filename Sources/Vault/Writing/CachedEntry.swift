package import Model

/// What tells whether a file is still the one that was read: if all of this is equal it is not opened again.
package struct FileIdentity: Hashable, Sendable {
    package var device: UInt64
    package var inode: UInt64
    package var changeTime: FileTime
    package init(device: UInt64, inode: UInt64, changeTime: FileTime) {
        self.device = device
        self.inode = inode
        self.changeTime = changeTime
    }
}

/// A chunk of a large file as the last run cut it: where its range still has this hash, it is not cut or hashed again.
package struct CachedChunk: Hashable, Sendable {
    package var length: UInt32
    /// XXH3 of the plaintext, seeded with the domain's bundle seed.
    package var hash: UInt64
    package var key: ContentKey
    package init(length: UInt32, hash: UInt64, key: ContentKey) {
        self.length = length
        self.hash = hash
        self.key = key
    }
}

/// XXH3-128 of a small file's content, seeded: a file whose content did not change keeps its place in its bundle.
package struct ContentHash: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// What the writer remembers of one path from the run before.
package struct CachedEntry: Hashable, Sendable {
    package var key: [UInt8]
    package var identity: FileIdentity
    package var entry: Entry
    package var contentHash: ContentHash?
    package var chunks: [CachedChunk]
    /// Content keys of the pieces of a long list of extents.
    package var pieces: [ContentKey]
    package init(
        key: [UInt8], identity: FileIdentity, entry: Entry, contentHash: ContentHash?, chunks: [CachedChunk],
        pieces: [ContentKey]
    ) {
        self.key = key
        self.identity = identity
        self.entry = entry
        self.contentHash = contentHash
        self.chunks = chunks
        self.pieces = pieces
    }
}

extension CachedEntry {
    /// The blobs that its content and its attributes are kept in: pieces of the content, of lists of such, and attributes.
    package var contentKeys: [ContentKey] {
        var keys: [ContentKey] = []
        switch entry.content {
        case .none: break
        case .extents(let extents): keys += extents.compactMap(\.key)
        case .list(let list, _):
            keys.append(list)
            keys += pieces
            keys += chunks.map(\.key)
        }
        if let attributes = entry.attributesBlob { keys.append(attributes) }
        return keys
    }

    /// The bytes by which it is kept on this machine; see `CachedEntryCoding`.
    package func encoded() -> [UInt8] {
        var out = ByteWriter(capacity: 128)
        CachedEntryCoding.encode(self, into: &out)
        return out.bytes
    }

    /// Reads what `encoded` made. Throws `damaged` for anything else.
    package init(decoding bytes: [UInt8], key: [UInt8]) throws {
        self = try bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let head = try CachedEntryCoding.decodeHead(&reader)
            var names = CachedNames()
            return try CachedEntryCoding.decodeRest(&reader, key: key, head: head, names: &names)
        }
    }
}

/// The encoding of records in the writer's cache. It never leaves the machine and may change with any version: a cache
/// of another version is dropped, which costs a re-read.
enum CachedEntryCoding {
    private static let hasHash: UInt64 = 1
    private static let hasChunks: UInt64 = 2
    private static let hasLink: UInt64 = 4
    private static let hasExtents: UInt64 = 8
    private static let hasList: UInt64 = 16
    private static let hasAttributes: UInt64 = 32
    private static let hasAttributesBlob: UInt64 = 64
    private static let hasRare: UInt64 = 128

    static func encode(_ cached: CachedEntry, into out: inout ByteWriter) {
        let entry = cached.entry
        var presence: UInt64 = 0
        if cached.contentHash != nil { presence |= hasHash }
        if !cached.chunks.isEmpty { presence |= hasChunks }
        if entry.linkGroup != nil { presence |= hasLink }
        if !entry.attributes.isEmpty { presence |= hasAttributes }
        if entry.attributesBlob != nil { presence |= hasAttributesBlob }
        if !entry.target.isEmpty || entry.device != 0 || entry.flags != 0 || !entry.remarks.isEmpty {
            presence |= hasRare
        }
        switch entry.content {
        case .none: break
        case .extents: presence |= hasExtents
        case .list: presence |= hasList
        }
        out.varint(cached.identity.device)
        out.varint(cached.identity.inode)
        out.zigzag(cached.identity.changeTime.seconds)
        out.varint(UInt64(cached.identity.changeTime.nanoseconds))
        out.u8(entry.kind.rawValue)
        out.varint(entry.size)
        out.zigzag(entry.mtime.seconds)
        out.varint(UInt64(entry.mtime.nanoseconds))
        out.varint(presence)
        out.varint(UInt64(entry.mode))
        out.varint(UInt64(entry.uid))
        out.varint(UInt64(entry.gid))
        out.counted(entry.user)
        out.counted(entry.group)
        if let hash = cached.contentHash {
            out.u64(hash.high)
            out.u64(hash.low)
        }
        if !cached.chunks.isEmpty {
            out.varint(cached.chunks.count)
            for chunk in cached.chunks {
                out.varint(UInt64(chunk.length))
                out.u64(chunk.hash)
                out.digest(chunk.key.bytes)
            }
            out.varint(cached.pieces.count)
            for piece in cached.pieces { out.digest(piece.bytes) }
        }
        if let link = entry.linkGroup {
            out.varint(link.device)
            out.varint(link.inode)
        }
        switch entry.content {
        case .none: break
        case .extents(let extents):
            out.varint(extents.count)
            for extent in extents {
                out.u8(extent.key == nil ? 0 : 1)
                if let key = extent.key {
                    out.digest(key.bytes)
                    out.varint(UInt64(extent.offset))
                }
                out.varint(extent.length)
            }
        case .list(let key, let count):
            out.digest(key.bytes)
            out.varint(count)
        }
        if !entry.attributes.isEmpty {
            out.varint(entry.attributes.count)
            for attribute in entry.attributes {
                out.counted(attribute.name)
                out.counted(attribute.value)
            }
        }
        if let blob = entry.attributesBlob { out.digest(blob.bytes) }
        if presence & hasRare != 0 {
            out.counted(entry.target)
            out.varint(entry.device)
            out.varint(UInt64(entry.flags))
            out.u8(entry.remarks.rawValue)
        }
    }

    /// What can be compared with a `statx` before anything is allocated.
    struct Head {
        var identity: FileIdentity
        var kind: EntryKind
        var size: UInt64
        var mtime: FileTime
    }

    static func decodeHead(_ reader: inout ByteReader) throws -> Head {
        let device = try reader.varint()
        let inode = try reader.varint()
        let changeTime = FileTime(
            seconds: try reader.zigzag(), nanoseconds: UInt32(try reader.varint(atMost: 999_999_999)))
        guard let kind = EntryKind(rawValue: try reader.u8()) else { throw ByteReader.malformed("kind") }
        let size = try reader.varint()
        let mtime = FileTime(seconds: try reader.zigzag(), nanoseconds: UInt32(try reader.varint(atMost: 999_999_999)))
        return Head(
            identity: FileIdentity(device: device, inode: inode, changeTime: changeTime), kind: kind, size: size,
            mtime: mtime)
    }

    /// Decodes what follows the head. `names` keeps the last owner names, which most entries share.
    static func decodeRest(
        _ reader: inout ByteReader, key: [UInt8], head: Head, names: inout CachedNames
    ) throws -> CachedEntry {
        let presence = try reader.varint()
        var entry = Entry(kind: head.kind, mode: UInt16(try reader.varint(atMost: 0xFFFF)))
        entry.size = head.size
        entry.mtime = head.mtime
        entry.uid = UInt32(try reader.varint(atMost: Int(UInt32.max)))
        entry.gid = UInt32(try reader.varint(atMost: Int(UInt32.max)))
        entry.user = names.user(try reader.slice(try reader.varint(atMost: 4096)))
        entry.group = names.group(try reader.slice(try reader.varint(atMost: 4096)))
        var hash: ContentHash?
        if presence & hasHash != 0 { hash = ContentHash(high: try reader.u64(), low: try reader.u64()) }
        var chunks: [CachedChunk] = []
        var pieces: [ContentKey] = []
        if presence & hasChunks != 0 {
            let count = try reader.varint(atMost: reader.remaining / 41)
            chunks.reserveCapacity(count)
            for _ in 0..<count {
                let length = UInt32(try reader.varint(atMost: FormatLimits.blobPlainLength))
                chunks.append(
                    CachedChunk(length: length, hash: try reader.u64(), key: ContentKey(try reader.digest())))
            }
            let pieceCount = try reader.varint(atMost: reader.remaining / 32)
            pieces.reserveCapacity(pieceCount)
            for _ in 0..<pieceCount { pieces.append(ContentKey(try reader.digest())) }
        }
        if presence & hasLink != 0 {
            entry.linkGroup = LinkGroup(device: try reader.varint(), inode: try reader.varint())
        }
        if presence & hasExtents != 0 {
            let count = try reader.varint(atMost: Entry.maximumInlineExtents)
            var extents: [Extent] = []
            extents.reserveCapacity(count)
            for _ in 0..<count {
                if try reader.u8() == 0 {
                    extents.append(Extent(key: nil, offset: 0, length: try reader.varint()))
                } else {
                    let key = ContentKey(try reader.digest())
                    let offset = UInt32(try reader.varint(atMost: FormatLimits.blobPlainLength))
                    extents.append(Extent(key: key, offset: offset, length: try reader.varint()))
                }
            }
            entry.content = .extents(extents)
        } else if presence & hasList != 0 {
            entry.content = .list(ContentKey(try reader.digest()), count: try reader.varint())
        }
        if presence & hasAttributes != 0 {
            let count = try reader.varint(atMost: reader.remaining / 2)
            for _ in 0..<count {
                let name = try reader.counted(atMost: 255)
                entry.attributes.append(ExtendedAttribute(name: name, value: try reader.counted(atMost: 65_536)))
            }
        }
        if presence & hasAttributesBlob != 0 { entry.attributesBlob = ContentKey(try reader.digest()) }
        if presence & hasRare != 0 {
            entry.target = try reader.counted(atMost: 65_536)
            entry.device = try reader.varint()
            entry.flags = UInt32(try reader.varint(atMost: Int(UInt32.max)))
            entry.remarks = Entry.Remarks(rawValue: try reader.u8())
        }
        try reader.end()
        return CachedEntry(
            key: key, identity: head.identity, entry: entry, contentHash: hash, chunks: chunks, pieces: pieces)
    }
}

/// The owner names met last: most entries of a machine share them, so their arrays are shared too.
struct CachedNames {
    private var lastUser: [UInt8] = []
    private var lastGroup: [UInt8] = []

    mutating func user(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { CachedNames.share(bytes, &lastUser) }
    mutating func group(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { CachedNames.share(bytes, &lastGroup) }

    private static func share(_ bytes: UnsafeRawBufferPointer, _ last: inout [UInt8]) -> [UInt8] {
        let isSame = last.withUnsafeBytes { $0.elementsEqualMemory(bytes) }
        if !isSame { last = Array(bytes) }
        return last
    }
}
