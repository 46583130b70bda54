package import Model

/// The id of a hold.
package struct HoldID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// A legal hold, signed by the vault: nothing under it is deleted by anything. Of several for one id, the one placed last
/// counts.
package struct HoldRecord: Hashable, Sendable {
    static let version: UInt8 = 1
    /// Most machines of one hold.
    package static let maximumMachines = 65_536
    /// Most paths of one hold.
    package static let maximumPaths = 16_384
    /// Longest reference in bytes.
    package static let maximumReferenceLength = 4096

    /// What a hold covers and says, before it is signed.
    package struct Content: Hashable, Sendable {
        package var hold: HoldID
        /// When this record was placed.
        package var placed: Timestamp
        /// `true`: placed; `false`: released.
        package var isPlaced: Bool
        /// Empty: all machines.
        package var machines: [MachineID]
        /// Empty: everything.
        package var paths: [[UInt8]]
        /// Points of which any time (their own, the arrival, the effective one) lies from here ...
        package var from: Timestamp
        /// ... to here are covered, both included.
        package var until: Timestamp
        /// The case or ticket, for people.
        package var reference: String

        package init(
            hold: HoldID,
            placed: Timestamp,
            isPlaced: Bool,
            machines: [MachineID],
            paths: [[UInt8]],
            from: Timestamp,
            until: Timestamp,
            reference: String
        ) {
            self.hold = hold
            self.placed = placed
            self.isPlaced = isPlaced
            self.machines = machines
            self.paths = paths
            self.from = from
            self.until = until
            self.reference = reference
        }

        /// Whether a point of `machine` at `time` is covered while the hold is placed.
        package func covers(machine: MachineID, time: Timestamp) -> Bool {
            isPlaced && (machines.isEmpty || machines.contains(machine)) && from <= time && time <= until
        }
    }

    package let content: Content
    /// By the vault's key; 64 bytes.
    package let signature: [UInt8]

    /// Signs a hold. Throws `usage` when it has too many machines or paths, or too long a reference.
    package init(_ content: Content, signing: SigningKey) throws {
        guard content.machines.count <= HoldRecord.maximumMachines, content.paths.count <= HoldRecord.maximumPaths,
            content.paths.allSatisfy({ $0.count <= FormatLimits.keyLength }),
            content.reference.utf8.count <= HoldRecord.maximumReferenceLength
        else {
            throw HoldfastError(.usage, "The hold has too many machines or paths, or too long a reference.")
        }
        let clear = HoldRecord.clearBytes(content)
        guard clear.count + SigningKey.signatureLength <= FormatLimits.recordLength else {
            throw HoldfastError(.usage, "The paths of the hold are too long together.")
        }
        self.content = content
        signature = try signing.sign(Array(label: "holdfast/1/hold") + clear)
    }

    private init(content: Content, signature: [UInt8]) {
        self.content = content
        self.signature = signature
    }

    private static func clearBytes(_ content: Content) -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.u8(version)
        writer.raw(content.hold.array)
        writer.i64(content.placed.nanoseconds)
        writer.u8(content.isPlaced ? 1 : 0)
        writer.varint(content.machines.count)
        for machine in content.machines { writer.raw(machine.array) }
        writer.varint(content.paths.count)
        for path in content.paths { writer.counted(path) }
        writer.i64(content.from.nanoseconds)
        writer.i64(content.until.nanoseconds)
        writer.counted(Array(content.reference.utf8))
        return writer.bytes
    }

    /// Throws `damaged` unless the vault signed it.
    package func verify(with key: VerifyingKey) throws {
        guard key.verifies(signature, of: Array(label: "holdfast/1/hold") + HoldRecord.clearBytes(content)) else {
            throw RecordCoding.wrongSignature("hold \(content.hold)")
        }
    }

    /// The body of the blob of type `hold`.
    package func encoded() -> [UInt8] { HoldRecord.clearBytes(content) + signature }

    /// Reads a body that fills `bytes`.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> HoldRecord {
        guard bytes.count <= FormatLimits.recordLength else { throw ByteReader.malformed("record too long") }
        var reader = ByteReader(bytes)
        try reader.version(version, of: "hold")
        let hold: HoldID = try reader.identifier()
        let placed = try reader.time()
        let state = try reader.u8()
        guard state <= 1 else { throw ByteReader.malformed("state of a hold") }
        let machineCount = try reader.varint(atMost: min(maximumMachines, reader.remaining / 16))
        let machines: [MachineID] = try (0..<machineCount).map { _ in try reader.identifier() }
        let pathCount = try reader.varint(atMost: min(maximumPaths, reader.remaining))
        let paths = try (0..<pathCount).map { _ in try reader.counted(atMost: FormatLimits.keyLength) }
        let from = Timestamp(nanoseconds: try reader.i64())
        let until = Timestamp(nanoseconds: try reader.i64())
        let reference = try reader.text(atMost: maximumReferenceLength)
        let signature = try reader.raw(SigningKey.signatureLength)
        try reader.end()
        let content = Content(
            hold: hold,
            placed: placed,
            isPlaced: state == 1,
            machines: machines,
            paths: paths,
            from: from,
            until: until,
            reference: reference
        )
        return HoldRecord(content: content, signature: signature)
    }

    /// The id of the blob.
    package var blobID: BlobID { RecordCoding.blobID(type: .hold, body: encoded()) }
}
