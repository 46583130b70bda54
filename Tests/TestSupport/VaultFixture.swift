package import Catalog
import Glibc
package import Model
package import Vault

/// A vault in a temporary directory with the real catalog, store and locks, removed at the end.
package final class VaultFixture: Sendable {
    package let path: String
    package let keys: VaultKeys
    package let config: VaultConfig

    package init() throws {
        var template = Array("/tmp/holdfast-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw HoldfastError(.io, "no temporary directory") }
        path = String(cString: made)
        let made2 = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000))
        keys = made2.keys
        config = made2.keys.config
        try VaultDirectory.create(path: Array(path.utf8), config: made2.config, files: [])
        // Tests make hundreds of vaults: the reserve would fill the disk.
        try DirectoryStore(path: path).releaseReserve()
    }

    private init(path: String, keys: VaultKeys) {
        self.path = path
        self.keys = keys
        config = keys.config
    }

    deinit {
        remove(path)
    }

    /// Another directory with the same packs and keys, copied in the order of names, and without a catalog.
    package static func copy(of original: VaultFixture) throws -> VaultFixture {
        var template = Array("/tmp/holdfast-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw HoldfastError(.io, "no temporary directory") }
        let copy = VaultFixture(path: String(cString: made), keys: original.keys)
        let source = try original.store()
        let target = try copy.store()
        try target.put(StoreKey.config, try source.get(StoreKey.config, atMost: 1 << 20))
        for prefix in [StoreKey.packsPrefix, StoreKey.removalsPrefix] {
            try source.list(prefix) { object in
                try target.put(object.key, try source.get(object.key, atMost: 1 << 30))
                return true
            }
        }
        return copy
    }

    private func remove(_ path: String) {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name == "." || name == ".." { continue }
                if entry.pointee.d_type == UInt8(DT_DIR) {
                    remove(path + "/" + name)
                } else {
                    unlink(path + "/" + name)
                }
            }
            closedir(directory)
        }
        rmdir(path)
    }

    /// Opens the vault like a process of its own. Letting the object go without closing its leases is that process's death.
    package func open(_ change: (inout VaultDirectory.Options) -> Void = { _ in }) throws -> LocalVault {
        var options = VaultDirectory.Options()
        change(&options)
        let vault = try VaultDirectory.open(path: Array(path.utf8), options: options)
        vault.trust(keys.domainSecret(domain: DomainSecret.vaultDomain, number: 1))
        return vault
    }

    package func rebuild() throws -> RebuildReport { try VaultDirectory.rebuild(path: Array(path.utf8)) }

    /// The store behind the vault, for damage.
    package func store() throws -> DirectoryStore { try DirectoryStore(path: path) }

    /// The bytes of a file of the vault.
    package func readFile(_ name: String) throws -> [UInt8] { try store().get(name, atMost: 1 << 30) }

    /// Replaces a file of the vault.
    package func writeFile(_ name: String, _ bytes: [UInt8]) throws {
        try store().put(name, bytes, mode: .replacing)
    }

    /// Brings everything that the catalog's log holds into its file.
    package func checkpoint() throws {
        let catalog = try SQLiteCatalog(
            path: path + "/catalog.sqlite", vault: config.vault,
            witness: WitnessFile(path: Array((path + "/catalog.witness").utf8)))
        try catalog.close()
    }

    /// Joins a machine.
    package func join(_ vault: LocalVault, name: String = "machine") throws -> TestMachine {
        let id = MachineID.random()
        let (secrets, record) = try keys.enrol(
            machine: id, name: name, location: path, joined: Timestamp(seconds: 1_700_000_001))
        try vault.register(record)
        return TestMachine(id: id, secrets: secrets)
    }

    /// Names of all packs in the store.
    package func packs() throws -> Set<PackName> {
        var names: Set<PackName> = []
        try store().list(StoreKey.packsPrefix) { object in
            if let name = StoreKey.packName(of: object.key) { names.insert(name) }
            return true
        }
        return names
    }

    /// Changes a byte of a stored pack.
    package func flip(_ name: PackName, at offset: Int) throws {
        let store = try store()
        var bytes = try store.get(StoreKey.pack(name), atMost: 64 << 20)
        bytes[offset] ^= 0x10
        try store.put(StoreKey.pack(name), bytes, mode: .replacing)
    }
}

/// A machine that has joined a vault.
package struct TestMachine: Sendable {
    package let id: MachineID
    package let secrets: WriterSecrets

    package init(id: MachineID, secrets: WriterSecrets) {
        self.id = id
        self.secrets = secrets
    }
}

/// A blob that is not in a pack yet.
package struct TestBlob: Sendable {
    package let type: BlobType
    package let plain: [UInt8]
    package let key: ContentKey
    package let id: BlobID
    package let references: [BlobID]

    package init(type: BlobType, plain: [UInt8], key: ContentKey, id: BlobID, references: [BlobID]) {
        self.type = type
        self.plain = plain
        self.key = key
        self.id = id
        self.references = references
    }
}

/// Makes blobs and packs as a writer does, with nodes that name whatever a test wants.
package struct TestBlobMaker {
    package let secrets: WriterSecrets
    private let deriver: BlobKeyDeriver
    private let sealer: BlobSealer

    package init(_ secrets: WriterSecrets, compression: Compression = .fast) {
        self.secrets = secrets
        sealer = BlobSealer(compression: compression)
        deriver = BlobKeyDeriver(convergence: secrets.domainSecret.secret, number: secrets.domainSecret.number)
    }

    package func data(_ plain: [UInt8]) -> TestBlob { blob(.data, plain, []) }

    package func data(_ text: String) -> TestBlob { data(Array(text.utf8)) }

    /// A node whose plaintext is `salt` and what it names.
    package func node(_ salt: String, _ names: [BlobID]) -> TestBlob {
        let references = Set(names).sorted()
        return blob(.node, Array(salt.utf8) + references.flatMap(\.bytes.array), references)
    }

    /// A blob of any type.
    package func blob(_ type: BlobType, _ plain: [UInt8], _ names: [BlobID]) -> TestBlob {
        let references = Set(names).sorted()
        let key = plain.withUnsafeBytes { deriver.contentKey(type, $0) }
        return TestBlob(type: type, plain: plain, key: key, id: BlobCrypto.id(of: key), references: references)
    }

    /// - Parameter writer: whose name stands in the header; `nil`: the machine's.
    package func pack(_ blobs: [TestBlob], writer: WriterID? = nil) throws -> SealedPack {
        let writer = writer ?? WriterID(high: secrets.machine.high, low: secrets.machine.low)
        var builder = PackBuilder(vault: secrets.vault, writer: writer, packClass: blobs[0].type.packClass)
        for blob in blobs {
            var framed: [UInt8] = []
            let packed = try blob.plain.withUnsafeBytes {
                try sealer.seal(
                    type: blob.type, key: blob.key, id: blob.id, secretNumber: secrets.domainSecret.number,
                    references: blob.references, plain: $0, into: &framed)
            }
            try framed.withUnsafeBytes { _ = try builder.append($0, packed) }
        }
        return try builder.finish()
    }
}

/// A writer that stores packs and points through a service.
package final class TestWriter {
    package let service: any VaultService
    package let machine: TestMachine
    package let make: TestBlobMaker
    package private(set) var lease: Lease
    package private(set) var position: PointPosition

    package init(
        _ service: any VaultService, _ machine: TestMachine, head: MachineHead? = nil, base: PointID? = nil
    ) throws {
        self.service = service
        self.machine = machine
        make = TestBlobMaker(machine.secrets)
        lease = try service.openLease(.writer(machine: machine.id, head: head, base: base))
        position = lease.next
    }

    package func close() { service.closeLease(lease.id) }

    package func missing(_ blobs: [TestBlob]) throws -> [Bool] {
        try service.missing(blobs.map { BlobQuestion(id: $0.id, key: $0.key) }, lease: lease.id)
    }

    package func store(_ blobs: [TestBlob]) throws { try service.store(make.pack(blobs), lease: lease.id) }

    /// Stores data that is missing, in one pack.
    package func send(_ blobs: [TestBlob]) throws {
        var seen: Set<BlobID> = []
        let unique = blobs.filter { seen.insert($0.id).inserted }
        if unique.isEmpty { return }
        let missing = zip(unique, try missing(unique)).filter(\.1).map(\.0)
        if !missing.isEmpty { try store(missing) }
    }

    package func point(
        root: TestBlob, position: PointPosition? = nil, id: PointID = .random(),
        time: Timestamp = Timestamp(seconds: 1_700_001_000), isPartial: Bool = false, series: UInt64 = 0,
        signing: SigningKey? = nil
    ) throws -> SealedPoint {
        let place = position ?? self.position
        let locator = PointLocator(
            vault: machine.secrets.vault, machine: machine.id, incarnation: place.incarnation, point: id,
            number: place.number, time: time, kind: .manual, flags: isPartial ? [.partial] : [], series: series,
            previous: place.previous, references: [root.id])
        return try SealedPoint.seal(
            locator: locator, record: PointRecord(root: root.key),
            key: RecordKey.fresh(for: machine.secrets.publicKey, vault: machine.secrets.vault),
            signing: signing ?? machine.secrets.signing)
    }

    @discardableResult
    package func commit(_ point: SealedPoint, with packs: [SealedPack] = []) throws -> CommitReceipt {
        let receipt = try service.commit(point, with: packs, lease: lease.id)
        position = PointPosition(
            incarnation: receipt.storedUpTo.incarnation, number: receipt.storedUpTo.number + 1,
            previous: receipt.storedUpTo.hash)
        return receipt
    }

    /// Stores data, a root that names it, and a point; as a small backup does.
    @discardableResult
    package func backup(_ texts: [String], salt: String = "root") throws -> CommitReceipt {
        let data = texts.map { make.data($0) }
        try send(data)
        let root = make.node(salt, data.map(\.id))
        try store([root])
        return try commit(point(root: root))
    }
}

/// Walks everything that a point names by the references of the blobs, reading each, as a restore would.
package func wholeness(of references: [BlobID], in service: any VaultService) throws -> Set<BlobID> {
    var seen: Set<BlobID> = []
    var next = Set(references)
    while !next.isEmpty {
        seen.formUnion(next)
        var found: Set<BlobID> = []
        try service.read(next.sorted()) { _, framed in
            found.formUnion(try BlobFrame(framed).references(in: framed))
        }
        next = found.subtracting(seen)
    }
    return seen
}
