package import Model
import Synchronization

/// The files below `keys/` of a vault: slots and key pairs, and those that could not be read.
package struct KeyFiles: Sendable {
    /// The prefix of the objects' names in the store.
    package static let prefix = "keys/"
    /// More files than this are not the keys of any vault.
    static let maximumCount = 1024
    /// Longest file in bytes: a key pair has some 3 KiB.
    package static let maximumLength = 64 << 10

    /// Sorted by number.
    package private(set) var slots: [KeySlot] = []
    /// Sorted by number.
    package private(set) var pairs: [VaultKeyPair] = []
    /// The files that could not be read, with the reason; the others are still used.
    package private(set) var unreadable: [(name: String, error: HoldfastError)] = []

    /// Reads what lies below `keys/`; names are without that prefix. A file that cannot be read is noted, not thrown:
    /// one damaged slot must not lock the others.
    package init(files: [(name: String, bytes: [UInt8])]) throws {
        guard files.count <= KeyFiles.maximumCount else {
            throw HoldfastError(
                .damaged, "There are \(files.count) files below keys/: that is no vault of this program.")
        }
        for (name, bytes) in files.sorted(by: { $0.name < $1.name }) where name.hasSuffix(".json") {
            do {
                guard bytes.count <= KeyFiles.maximumLength else {
                    throw HoldfastError(
                        .damaged, "keys/\(name) is damaged: longer than \(KeyFiles.maximumLength) bytes")
                }
                if name.hasPrefix("pair-") {
                    let pair = try VaultKeyPair.decode(bytes, fileName: name)
                    guard pair.fileName == name else { throw KeyFiles.misnamed(name) }
                    pairs.append(pair)
                } else {
                    let slot = try KeySlot.decode(bytes, fileName: name)
                    guard slot.fileName == name else { throw KeyFiles.misnamed(name) }
                    slots.append(slot)
                }
            } catch let error as HoldfastError {
                unreadable.append((name, error))
            }
        }
        slots.sort { $0.number < $1.number }
        pairs.sort { $0.number < $1.number }
    }

    private static func misnamed(_ name: String) -> HoldfastError {
        HoldfastError(.damaged, "keys/\(name) does not hold what its name says: it was renamed or replaced.")
    }

    /// The slots that `secret` opens, each with the master secret inside. Takes about 0.4 s per passphrase slot.
    func opened(by secret: UnlockSecret, vault: VaultID, firstOnly: Bool) throws -> [(KeySlot, MasterSecret)] {
        var result: [(KeySlot, MasterSecret)] = []
        var failure: HoldfastError?
        for slot in slots {
            do {
                guard let master = try slot.open(secret, vault: vault) else { continue }
                result.append((slot, master))
                if firstOnly { break }
            } catch let error as HoldfastError {
                failure = error
            }
        }
        if result.isEmpty, let failure { throw failure }
        return result
    }
}

/// What a reader has after unlocking a vault: the master secret, the verified configuration and the opened key pairs.
package struct VaultKeys: PointOpener {
    package let config: VaultConfig
    package let master: MasterSecret
    /// The slot that was opened.
    package let slot: KeySlot
    /// All slots that could be read, sorted by number.
    package let slots: [KeySlot]
    /// Files below `keys/` that could not be read or do not open, with the reason.
    package let unreadable: [(name: String, error: HoldfastError)]
    private let pairs: [VaultKeyPair]
    private let privateKeys: [UInt16: VaultPrivateKey]
    private let opened = OpenedWraps()

    // MARK: Making and unlocking

    /// A new vault: what `init` writes to the store and prints.
    package struct NewVault: Sendable {
        package let keys: VaultKeys
        /// The bytes of `config.json`.
        package let config: [UInt8]
        /// The files below `keys/`, names without that prefix.
        package let files: [(name: String, bytes: [UInt8])]
        /// To be shown once.
        package let keySheet: KeySheet
    }

    /// Makes the keys of a new vault: a master secret, the first key pair, a key sheet, and a slot for each of `secrets`.
    package static func makeVault(
        vault: VaultID = .random(),
        kind: VaultConfig.Kind,
        secrets: [(secret: UnlockSecret, label: String)],
        created: Timestamp
    ) throws -> NewVault {
        try makeVault(vault: vault, kind: kind, secrets: secrets, created: created, scrypt: .current)
    }

    /// The same with a cheaper scrypt, for tests.
    static func makeVault(
        vault: VaultID = .random(),
        kind: VaultConfig.Kind,
        secrets: [(secret: UnlockSecret, label: String)],
        created: Timestamp,
        scrypt: ScryptParameters
    ) throws -> NewVault {
        let master = MasterSecret.random()
        let config = VaultConfig(vault: vault, kind: kind, created: created, master: master)
        let pair = try VaultKeyPair.make(number: 1, master: master, vault: vault, created: created)
        let sheet = KeySheet.random()
        var slots: [KeySlot] = []
        for (secret, label) in secrets + [(.keySheet(sheet), "key sheet of \(RFC3339.encode(created).prefix(10))")] {
            slots.append(
                try KeySlot.make(
                    secret,
                    master: master,
                    vault: vault,
                    number: slots.count + 1,
                    label: label,
                    created: created,
                    scrypt: scrypt
                )
            )
        }
        guard let slot = slots.last else {
            throw HoldfastError(.internalError, "A vault without a key slot was about to be made.")
        }
        let keys = VaultKeys(
            config: config,
            master: master,
            slot: slot,
            slots: slots,
            unreadable: [],
            pairs: [pair],
            privateKeys: [pair.number: try pair.openPrivate(master: master, vault: vault)]
        )
        return NewVault(
            keys: keys,
            config: config.encoded(),
            files: slots.map { ($0.fileName, $0.encoded()) } + [(pair.fileName, pair.encoded())],
            keySheet: sheet
        )
    }

    /// Unlocks a vault: finds the slot that `secret` opens, verifies `config.json`, opens the key pairs.
    ///
    /// - Parameters:
    ///   - config: The bytes of `config.json`.
    ///   - files: What lies below `keys/`, names without that prefix.
    ///
    /// Throws `wrongKey` when no slot opens, `damaged` when the configuration was changed, `unsupported` when the vault is
    /// of a newer version. Slots and pairs that are damaged are listed in `unreadable` while others do.
    package static func unlock(
        config configBytes: [UInt8],
        files: [(name: String, bytes: [UInt8])],
        secret: UnlockSecret
    ) throws -> VaultKeys {
        let config = try VaultConfig.decode(configBytes)
        let keyFiles = try KeyFiles(files: files)
        let opened = try keyFiles.opened(by: secret, vault: config.vault, firstOnly: true)
        guard let (slot, master) = opened.first else { throw wrongKey(secret, keyFiles) }
        try config.verify(mac: master)
        var unreadable = keyFiles.unreadable
        var privateKeys: [UInt16: VaultPrivateKey] = [:]
        for pair in keyFiles.pairs {
            do {
                privateKeys[pair.number] = try pair.openPrivate(master: master, vault: config.vault)
            } catch let error as HoldfastError {
                unreadable.append((pair.fileName, error))
            }
        }
        return VaultKeys(
            config: config,
            master: master,
            slot: slot,
            slots: keyFiles.slots,
            unreadable: unreadable,
            pairs: keyFiles.pairs.filter { privateKeys[$0.number] != nil },
            privateKeys: privateKeys
        )
    }

    private static func wrongKey(_ secret: UnlockSecret, _ files: KeyFiles) -> HoldfastError {
        let kind = secret.slotKind
        let candidates = files.slots.filter { $0.kind == kind }
        let damaged = files.unreadable.filter { !$0.name.hasPrefix("pair-") }.map { "keys/\($0.name)" }
        var message: String
        if candidates.isEmpty {
            let others = Set(files.slots.map { $0.kind.title }).sorted().joined(separator: ", ")
            message =
                "This vault has no key slot for a \(kind.title)"
                + (others.isEmpty ? "." : "; it can be opened with: \(others).")
        } else {
            message = "Wrong \(kind.title): it opens none of the vault's key slots."
        }
        if !damaged.isEmpty { message += " These slots could not be read: \(damaged.joined(separator: ", "))." }
        return HoldfastError(.wrongKey, message, context: ["kind": kind.rawValue])
    }

    // MARK: What the keys open

    package var vault: VaultID { config.vault }

    /// The vault's own signing key.
    package var vaultSigning: SigningKey { master.vaultSigningKey }

    /// The public half of the newest key pair that opens; what writers get. Throws `damaged` when there is none.
    package var publicKey: VaultPublicKey {
        get throws {
            guard let pair = pairs.last else {
                throw HoldfastError(
                    .damaged,
                    "None of the vault's key pairs (keys/pair-*.json) can be opened. Put copies of the originals back."
                )
            }
            return pair.publicKey
        }
    }

    /// The secret `number` (from 1) of a domain. Deriving costs some 20 µs: keep what is used often.
    package func domainSecret(domain: String, number: UInt16) -> DomainSecret {
        DomainSecret(master: master, domain: domain, number: number)
    }

    /// The domain that a machine of this vault writes to unless policy narrows it.
    package func defaultDomain(of machine: MachineID) -> String {
        config.kind == .serverReadable ? DomainSecret.vaultDomain : DomainSecret.domain(of: machine)
    }

    /// Opens a wrapped record key. Points of one hour share a wrap, so the last ones opened are remembered.
    package func open(wrap: [UInt8]) throws -> RecordKey {
        if let key = opened.key(for: wrap) { return key }
        let key = try RecordKey.open(wrap, privateKeys: privateKeys, vault: vault)
        opened.remember(key)
        return key
    }

    /// What a machine keeps to write to this vault, and the record that registers it.
    package func enrol(
        machine: MachineID,
        name: String,
        location: String,
        signing: SigningKey = .random(),
        domain: String? = nil,
        domainNumber: UInt16 = 1,
        joined: Timestamp
    ) throws -> (secrets: WriterSecrets, record: MachineRecord) {
        let domain = domain ?? defaultDomain(of: machine)
        let secrets = WriterSecrets(
            vault: vault,
            location: location,
            machine: machine,
            signing: signing,
            publicKey: try publicKey,
            vaultSigning: config.signing,
            domainSecrets: [domainSecret(domain: domain, number: domainNumber)],
            chunker: config.chunker,
            tree: config.tree
        )
        let record = try MachineRecord(
            machine: machine,
            key: signing.verifyingKey,
            joined: joined,
            name: name,
            domain: domain,
            signing: vaultSigning
        )
        return (secrets, record)
    }

    package var vaultVerifying: VerifyingKey { config.signing }

    package func recordKey(of wrap: [UInt8], in point: PointID) throws -> RecordKey { try open(wrap: wrap) }

    package func checkers(of machine: MachineID) -> [ContentChecker] {
        Set([defaultDomain(of: machine), DomainSecret.vaultDomain, DomainSecret.domain(of: machine)]).sorted()
            .map { ContentChecker(keys: self, domain: $0) }
    }

    // MARK: Administration of slots

    /// A new slot for `secret` with the lowest free number: the file to write below `keys/`.
    package func addSlot(_ secret: UnlockSecret, label: String, created: Timestamp) throws -> KeySlot {
        let taken = Set(slots.map(\.number) + unreadable.compactMap { Int($0.name.prefix(2)) })
        guard let number = (1...KeySlot.maximumNumber).first(where: { !taken.contains($0) }) else {
            throw HoldfastError(.forbidden, "All \(KeySlot.maximumNumber) key slots are taken; remove one first.")
        }
        return try KeySlot.make(secret, master: master, vault: vault, number: number, label: label, created: created)
    }

    /// The slot to remove, after the check that the vault stays open to a person: the slot that was unlocked with cannot be
    /// removed, so whoever removes one has just shown that another opens.
    package func slotToRemove(number: Int) throws -> KeySlot {
        guard let found = slots.first(where: { $0.number == number }) else {
            throw HoldfastError(.notFound, "There is no key slot \(number).", context: ["slot": String(number)])
        }
        guard number != slot.number else {
            throw HoldfastError(
                .forbidden,
                "Key slot \(number) is the one you unlocked the vault with. Unlock it with another passphrase or with a key "
                    + "sheet to remove this one; so a vault is never left without a key that works.",
                context: ["slot": String(number)]
            )
        }
        guard slot.kind != .server || slots.contains(where: { $0.number != number && $0.kind != .server }) else {
            throw HoldfastError(
                .forbidden,
                "Key slot \(number) is the last that a person can open. Add a passphrase or a key sheet first.",
                context: ["slot": String(number)]
            )
        }
        return found
    }

    /// Which slots a secret opens: the answer of `check-sheet`. Empty when it opens none.
    package static func slotsOpened(
        by secret: UnlockSecret,
        config configBytes: [UInt8],
        files: [(name: String, bytes: [UInt8])]
    ) throws -> [KeySlot] {
        let config = try VaultConfig.decode(configBytes)
        return try KeyFiles(files: files).opened(by: secret, vault: config.vault, firstOnly: false).map {
            slot, master in
            try config.verify(mac: master)
            return slot
        }
    }

    /// The next key pair, for writers that join or renew from now on; the older ones stay.
    package func nextKeyPair(created: Timestamp) throws -> VaultKeyPair {
        let highest = pairs.last?.number ?? 0
        let unread = unreadable.compactMap { file -> UInt16? in
            guard file.name.hasPrefix("pair-") else { return nil }
            return UInt16(file.name.dropFirst(5).prefix { $0.isNumber })
        }
        let number = max(highest, unread.max() ?? 0)
        guard number < UInt16.max else { throw HoldfastError(.forbidden, "There can be no more key pairs.") }
        return try VaultKeyPair.make(number: number + 1, master: master, vault: vault, created: created)
    }
}

/// Record keys that were opened lately, by their wraps.
private final class OpenedWraps: Sendable {
    /// A day of hourly wraps of some machines; each takes about 1.3 KiB.
    private static let limit = 256
    private let keys = Mutex<[[UInt8]: RecordKey]>([:])

    func key(for wrap: [UInt8]) -> RecordKey? { keys.withLock { $0[wrap] } }

    func remember(_ key: RecordKey) {
        keys.withLock { keys in
            if keys.count >= OpenedWraps.limit { keys.removeAll(keepingCapacity: true) }
            keys[key.wrap] = key
        }
    }
}
