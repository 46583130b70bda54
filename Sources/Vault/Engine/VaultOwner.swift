package import Model
import Platform

/// The claim of one host on a vault that several hosts can reach.
package protocol VaultOwnership: AnyObject, Sendable {
    /// Reads the claim again, before a commit and before a deletion; throws `busy` when another host has taken the vault over.
    func confirm() throws
}

/// `owner.json`: which host works on a vault on a network file system or in a bucket.
///
/// Catalog and locks of such a vault are in the reach of several hosts, and neither can be relied upon between them: so one
/// host owns it, and stays the owner until another takes over on a person's word.
package final class VaultOwner: VaultOwnership {
    /// What stands in the file.
    package struct Claim: Hashable, Sendable {
        /// For people.
        package var host: String
        /// Tells hosts apart: the machine id of the operating system, or the host name where there is none.
        package var machine: String
        /// Counts the times the vault changed hands.
        package var number: Int64
        package var since: String

        package init(host: String, machine: String, number: Int64, since: String) {
            self.host = host
            self.machine = machine
            self.number = number
            self.since = since
        }

        func encoded() -> [UInt8] {
            JSONValue.object([
                "host": .string(host), "machine": .string(machine), "number": .integer(number), "since": .string(since),
            ]).encoded()
        }

        static func decode(_ bytes: [UInt8]) throws -> Claim {
            let fields = try JSONFields(parsing: bytes, document: StoreKey.owner)
            return Claim(
                host: try fields.string("host"), machine: try fields.string("machine"),
                number: try fields.integer("number", in: 1...Int64.max), since: try fields.string("since"))
        }
    }

    private let store: any BlobStore
    /// The claim that this host works under.
    package let claim: Claim
    /// Another host owned the vault until now: what its catalog says is compared with the store.
    package let tookOver: Bool

    private init(store: any BlobStore, claim: Claim, tookOver: Bool = false) {
        self.store = store
        self.claim = claim
        self.tookOver = tookOver
    }

    /// Claims the vault for this host.
    ///
    /// - Throws: `busy` with the owner's name when another host owns it and `takesOver` is not set.
    package static func claim(
        vault: VaultID, in store: any BlobStore, takesOver: Bool, host: String = Machine.hostName,
        machine: String = Machine.machineID.map { Hex.encode($0) } ?? Machine.hostName,
        now: Timestamp = Timestamp(nanoseconds: SystemClock.wall)
    ) throws -> VaultOwner {
        var own = Claim(host: host, machine: machine, number: 1, since: RFC3339.encode(now))
        if try store.put(StoreKey.owner, own.encoded(), mode: .ifAbsent) { return VaultOwner(store: store, claim: own) }
        let current = try read(store)
        if current.machine == machine { return VaultOwner(store: store, claim: current) }
        guard takesOver else { throw owned(by: current) }
        own.number = current.number + 1
        try store.put(StoreKey.owner, own.encoded(), mode: .replacing)
        let owner = VaultOwner(store: store, claim: own, tookOver: true)
        // Two hosts may be taking over at once: the one whose claim stands is the owner.
        try owner.confirm()
        return owner
    }

    package static func read(_ store: any BlobStore) throws -> Claim {
        try Claim.decode(try store.get(StoreKey.owner, atMost: 64 << 10))
    }

    private static func owned(by claim: Claim) -> HoldfastError {
        HoldfastError(
            .busy,
            "this vault is owned by the host \(claim.host) since \(claim.since), and one host at a time may work on it; when "
                + "that host does not use it any more, take it over with --take-over",
            context: ["host": claim.host])
    }

    package func confirm() throws {
        let current = try VaultOwner.read(store)
        guard current == claim else { throw VaultOwner.owned(by: current) }
    }
}
