package import Model

/// A machine that may write to the vault, signed by the vault. Of several for one machine, the one joined last counts.
package struct MachineRecord: Hashable, Sendable {
    static let version: UInt8 = 1
    /// Longest name in bytes.
    package static let maximumNameLength = 1024

    package let machine: MachineID
    /// Checks the signatures of its points.
    package let key: VerifyingKey
    package let joined: Timestamp
    /// What people call it; for showing, never for telling machines apart.
    package let name: String
    /// The domain its blobs are sealed in.
    package let domain: String
    /// By the vault's key; 64 bytes.
    package let signature: [UInt8]

    /// Makes and signs a record. Throws `usage` for a name longer than 1 KiB.
    package init(
        machine: MachineID,
        key: VerifyingKey,
        joined: Timestamp,
        name: String,
        domain: String,
        signing: SigningKey
    ) throws {
        guard name.utf8.count <= MachineRecord.maximumNameLength, DomainSecret.isDomain(domain) else {
            throw HoldfastError(.usage, "The machine's name is too long, or its domain is not one.")
        }
        let unsigned = MachineRecord(
            machine: machine,
            key: key,
            joined: joined,
            name: name,
            domain: domain,
            signature: []
        )
        self.init(
            machine: machine,
            key: key,
            joined: joined,
            name: name,
            domain: domain,
            signature: try signing.sign(unsigned.signedBytes)
        )
    }

    private init(
        machine: MachineID,
        key: VerifyingKey,
        joined: Timestamp,
        name: String,
        domain: String,
        signature: [UInt8]
    ) {
        self.machine = machine
        self.key = key
        self.joined = joined
        self.name = name
        self.domain = domain
        self.signature = signature
    }

    private var clearBytes: [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.u8(MachineRecord.version)
        writer.raw(machine.array)
        writer.digest(key.bytes)
        writer.i64(joined.nanoseconds)
        writer.counted(Array(name.utf8))
        writer.counted(Array(domain.utf8))
        return writer.bytes
    }

    private var signedBytes: [UInt8] { Array(label: "holdfast/1/machine") + clearBytes }

    /// Throws `damaged` unless the vault signed it.
    package func verify(with key: VerifyingKey) throws {
        guard key.verifies(signature, of: signedBytes) else {
            throw RecordCoding.wrongSignature("record of machine \(machine)")
        }
    }

    /// The body of the blob of type `machine`.
    package func encoded() -> [UInt8] { clearBytes + signature }

    /// Reads a body that fills `bytes`.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> MachineRecord {
        guard bytes.count <= FormatLimits.recordLength else { throw ByteReader.malformed("record too long") }
        var reader = ByteReader(bytes)
        try reader.version(version, of: "machine")
        let machine: MachineID = try reader.identifier()
        let key = VerifyingKey(bytes: try reader.digest())
        let joined = try reader.time()
        let name = try reader.text(atMost: maximumNameLength)
        let domain = try reader.text(atMost: 255)
        guard DomainSecret.isDomain(domain) else { throw ByteReader.malformed("domain of a machine") }
        let signature = try reader.raw(SigningKey.signatureLength)
        try reader.end()
        return MachineRecord(
            machine: machine,
            key: key,
            joined: joined,
            name: name,
            domain: domain,
            signature: signature
        )
    }

    /// The id of the blob.
    package var blobID: BlobID { RecordCoding.blobID(type: .machine, body: encoded()) }
}
