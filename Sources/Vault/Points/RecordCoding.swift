import Model

/// What the records of class 3 share.
enum RecordCoding {
    /// The types of blobs in packs of class 3.
    static let types: [BlobType] = [.machine, .hold, .point, .redaction]

    /// The id of a record's blob: SHA-256("holdfast/1/record", type, body).
    static func blobID(type: BlobType, body: [UInt8]) -> BlobID {
        body.withUnsafeBytes { BlobCrypto.recordID(type: type, body: $0) }
    }

    /// The error for a record whose signature does not fit.
    static func wrongSignature(_ what: String) -> HoldfastError {
        HoldfastError(
            .damaged,
            "The signature of the \(what) is wrong: it was changed, or was not written by who it says."
        )
    }
}

extension ByteWriter {
    /// A varint of the count, then the digests.
    mutating func references(_ ids: [BlobID]) {
        varint(ids.count)
        for id in ids { digest(id.bytes) }
    }

    /// A u32 of the length, then the bytes.
    mutating func block(_ value: [UInt8]) {
        u32(UInt32(value.count))
        raw(value)
    }
}

extension ByteReader {
    /// Reads the version of a structure; `what` names it in the error for a newer one.
    mutating func version(_ known: UInt8, of what: String) throws {
        let version = try u8()
        guard version != 0 else { throw ByteReader.malformed("version of a \(what)") }
        guard version <= known else { throw ByteReader.newer(what, Int(version)) }
    }

    static func newer(_ what: String, _ version: Int) -> HoldfastError {
        HoldfastError(
            .unsupported,
            "The vault holds a \(what) of version \(version), which this version of Holdfast does not know. Install a newer one.",
            context: ["version": String(version)]
        )
    }

    /// Sixteen bytes.
    mutating func identifier<ID: RandomIdentifier>() throws -> ID {
        guard let id = ID(try slice(16)) else { throw ByteReader.malformed("identifier") }
        return id
    }

    /// A varint of the count and the digests, which must be sorted, each once.
    mutating func references(atMost limit: Int) throws -> [BlobID] {
        let count = try varint(atMost: limit)
        guard count <= remaining / 32 else { throw ByteReader.malformed("cut short") }
        var ids: [BlobID] = []
        ids.reserveCapacity(count)
        for _ in 0..<count {
            let id = BlobID(try digest())
            if let last = ids.last, last >= id { throw ByteReader.malformed("references not sorted") }
            ids.append(id)
        }
        return ids
    }

    /// A u32 of the length, at most `limit`, then the bytes in place.
    mutating func block(atMost limit: Int) throws -> UnsafeRawBufferPointer {
        let count = Int(try u32())
        guard count <= limit else { throw ByteReader.malformed("length above its bound") }
        return try slice(count)
    }

    /// Counted bytes that are UTF-8.
    mutating func text(atMost limit: Int) throws -> String {
        guard let text = String(validating: try counted(atMost: limit), as: UTF8.self) else {
            throw ByteReader.malformed("text that is not UTF-8")
        }
        return text
    }
}
