package import Model

/// The newest point of a machine that a writer or the vault knows of: where a chain ends.
package struct MachineHead: Hashable, Sendable {
    static let version: Int64 = 1

    package let incarnation: IncarnationID
    /// Number of the point within the incarnation, from 1.
    package let number: UInt64
    /// Hash of the point's locator.
    package let hash: LocatorHash

    package init(incarnation: IncarnationID, number: UInt64, hash: LocatorHash) {
        self.incarnation = incarnation
        self.number = number
        self.hash = hash
    }

    /// The head after `locator`.
    package init(after locator: PointLocator) {
        self.init(incarnation: locator.incarnation, number: locator.number, hash: locator.hash)
    }

    /// The bytes of the file in the state directory.
    package func encoded() -> [UInt8] {
        JSONValue.object([
            "hash": .string(hash.hex),
            "incarnation": .string(incarnation.hex),
            "number": .integer(Int64(number)),
            "version": .integer(MachineHead.version),
        ]).encoded()
    }

    /// Reads what `encoded` wrote; `document` names the file in errors.
    package static func decode(_ bytes: [UInt8], document: String) throws -> MachineHead {
        let fields = try JSONFields(parsing: bytes, document: document)
        try fields.checkVersion(MachineHead.version)
        return MachineHead(
            incarnation: try fields.identifier("incarnation"),
            number: UInt64(try fields.integer("number", in: 1...Int64.max)),
            hash: LocatorHash(try fields.digest("hash"))
        )
    }
}
