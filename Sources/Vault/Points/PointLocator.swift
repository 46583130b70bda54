package import Model

/// Why a point was made.
package enum PointKind: UInt8, Sendable, CaseIterable {
    /// By the continuous capture.
    case continuous = 1
    /// By a schedule.
    case scheduled = 2
    /// By a person or a program.
    case manual = 3
    /// Before something risky: an update, an in-place restore.
    case checkpoint = 4
}

/// The clear part of a point: enough to list, keep, copy and collect it without a key.
package struct PointLocator: Hashable, Sendable {
    static let version: UInt8 = 1
    /// A root and the deltas over it.
    package static let maximumReferences = 1 + FormatLimits.deltas
    /// Longest encoding in bytes, with room for the longest number.
    package static let maximumLength = 1 + 4 * 16 + 10 + 8 + 2 + 8 + 32 + 1 + maximumReferences * 32
    /// The largest number of a point: numbers fit a signed integer, as databases hold them.
    package static let maximumNumber = UInt64(Int64.max)

    /// Marks of a point.
    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Not the whole of what is protected: a long first backup on its way.
        package static let partial = Flags(rawValue: 1)
        /// Kept until a person lets it go.
        package static let pinned = Flags(rawValue: 2)
        static let known: Flags = [.partial, .pinned]
    }

    package let vault: VaultID
    package let machine: MachineID
    package let incarnation: IncarnationID
    package let point: PointID
    /// From 1, without gaps within the incarnation.
    package let number: UInt64
    /// The instant whose state it holds, by the machine's clock.
    package let time: Timestamp
    package let kind: PointKind
    package let flags: Flags
    /// Tells points of different protected paths apart without saying which: `DomainSecret.series(of:)`. Retention counts
    /// each series of a machine by itself. 0 for the machine as a whole.
    package let series: UInt64
    /// Hash of the locator before it in the incarnation; `LocatorHash.none` for number 1.
    package let previous: LocatorHash
    /// Ids of the root and of the deltas, sorted, each once.
    package let references: [BlobID]

    /// `references` may be in any order.
    package init(
        vault: VaultID,
        machine: MachineID,
        incarnation: IncarnationID,
        point: PointID,
        number: UInt64,
        time: Timestamp,
        kind: PointKind,
        flags: Flags,
        series: UInt64 = 0,
        previous: LocatorHash,
        references: [BlobID]
    ) {
        self.vault = vault
        self.machine = machine
        self.incarnation = incarnation
        self.point = point
        self.number = number
        self.time = time
        self.kind = kind
        self.flags = flags
        self.series = series
        self.previous = previous
        self.references = Set(references).sorted()
    }

    package var isPartial: Bool { flags.contains(.partial) }
    package var isPinned: Bool { flags.contains(.pinned) }

    /// SHA-256 of the encoded locator: what the next point names.
    package var hash: LocatorHash { LocatorHash(KeyCrypto.sha256(encoded())) }

    // MARK: Coding

    /// The bytes of the format.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 160 + references.count * 32)
        writer.u8(PointLocator.version)
        writer.raw(vault.array)
        writer.raw(machine.array)
        writer.raw(incarnation.array)
        writer.raw(point.array)
        writer.varint(number)
        writer.i64(time.nanoseconds)
        writer.u8(kind.rawValue)
        writer.u8(flags.rawValue)
        writer.u64(series)
        writer.digest(previous.bytes)
        writer.references(references)
        return writer.bytes
    }

    /// Reads one locator that fills `bytes`. An encoding that `encoded` would not write is refused, so that a hash stands
    /// for one locator only.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> PointLocator {
        guard bytes.count <= maximumLength else { throw ByteReader.malformed("locator too long") }
        var reader = ByteReader(bytes)
        try reader.version(version, of: "point")
        let vault: VaultID = try reader.identifier()
        let machine: MachineID = try reader.identifier()
        let incarnation: IncarnationID = try reader.identifier()
        let point: PointID = try reader.identifier()
        let number = try reader.varint()
        guard (1...maximumNumber).contains(number) else { throw ByteReader.malformed("number of a point") }
        let time = try reader.time()
        guard let kind = PointKind(rawValue: try reader.u8()) else { throw ByteReader.malformed("kind of a point") }
        let flags = Flags(rawValue: try reader.u8())
        guard flags.isSubset(of: .known) else { throw ByteReader.malformed("flags of a point") }
        let series = try reader.u64()
        let previous = LocatorHash(try reader.digest())
        let references = try reader.references(atMost: maximumReferences)
        try reader.end()
        return PointLocator(
            vault: vault,
            machine: machine,
            incarnation: incarnation,
            point: point,
            number: number,
            time: time,
            kind: kind,
            flags: flags,
            series: series,
            previous: previous,
            references: references
        )
    }
}
