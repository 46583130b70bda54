import Foundation
import Model
import TestSupport
import Testing

@testable import Vault

/// `scripts/read-vault.py` shares no line with this package: what it restores is what `docs/vault-format.md` promises.
@Suite struct IndependentReaderTests {
    @Test("a reader written from the format page alone restores files with the key sheet, without a catalog")
    func restoresEverything() throws {
        let vault = try HandmadeVault()
        let output = try vault.read(["points"])
        #expect(output.status == 0, "\(output.text)")
        #expect(output.text.contains("web1") && output.text.contains("before the upgrade"), "\(output.text)")

        let target = vault.scratch.path + "/restored"
        let restored = try vault.read(["restore", "latest", "/", "--to", target])
        #expect(restored.status == 0, "\(restored.text)")
        try vault.compare(with: target, below: "", vault.secondState)
    }

    @Test("the independent reader takes a passphrase, an earlier point, a single file and a directory")
    func restoresParts() throws {
        let vault = try HandmadeVault()
        let first = vault.scratch.path + "/first"
        let whole = try vault.read(["restore", vault.firstPoint.hex, "--to", first], passphrase: true)
        #expect(whole.status == 0, "\(whole.text)")
        try vault.compare(with: first, below: "", vault.firstState)

        let file = vault.scratch.path + "/file"
        let one = try vault.read(["restore", "latest", "/srv/large", "--to", file])
        #expect(one.status == 0, "\(one.text)")
        try vault.compare(with: file, below: "srv/large", vault.secondState)

        let directory = vault.scratch.path + "/directory"
        let some = try vault.read(["restore", "latest", "/etc", "--to", directory])
        #expect(some.status == 0, "\(some.text)")
        try vault.compare(with: directory, below: "etc", vault.secondState)

        let nothing = try vault.read(["restore", "latest", "/nothing", "--to", vault.scratch.path + "/nothing"])
        #expect(nothing.status == 1)
    }

    @Test("the independent reader finds blobs in damaged packs, and takes the other copy of one that does not open")
    func survivesDamage() throws {
        let vault = try HandmadeVault()
        // The footers of all data packs but one go, and in one copy every blob's seal is broken.
        try vault.damage()
        let target = vault.scratch.path + "/restored"
        let restored = try vault.read(["restore", "latest", "/", "--to", target])
        #expect(restored.status == 0, "\(restored.text)")
        #expect(restored.text.contains("is damaged; looking for blobs in it"))
        try vault.compare(with: target, below: "", vault.secondState)
    }

    @Test("the independent reader shows what a redaction left, and nothing opens with wrong words")
    func redactionAndWrongKey() throws {
        let vault = try HandmadeVault(redacting: true)
        let target = vault.scratch.path + "/redacted"
        let restored = try vault.read(["restore", vault.firstPoint.hex, "--to", target])
        #expect(restored.status == 0, "\(restored.text)")
        try vault.compare(with: target, below: "", vault.redactedState)

        let words = vault.scratch.path + "/words"
        try KeySheet.random().words.joined(separator: " ").write(toFile: words, atomically: true, encoding: .utf8)
        let wrong = try vault.run(["--key-sheet", words, "points"])
        #expect(wrong.status == 1 && wrong.text.contains("opens no key slot"), "\(wrong.text)")
        try "abandon abandon".write(toFile: words, atomically: true, encoding: .utf8)
        #expect(try vault.run(["--key-sheet", words, "points"]).text.contains("16 words"))
    }
}

/// A vault put together piece by piece, with what makes a reader's life hard.
private final class HandmadeVault: NodeSink {
    /// What a path restores to.
    enum Expected: Equatable {
        case directory
        case file([UInt8])
        case link(String)
    }

    let scratch: ScratchDirectory
    let firstPoint: PointID
    private(set) var firstState: [String: Expected] = [:]
    private(set) var secondState: [String: Expected] = [:]
    private(set) var redactedState: [String: Expected] = [:]

    private let made: VaultKeys.NewVault
    private let machine = MachineID.random()
    private let signing = SigningKey.random()
    private let secret: DomainSecret
    private let deriver: BlobKeyDeriver
    private let sealer = BlobSealer()
    private let store: DirectoryStore
    private var meta: PackBuilder
    private var data: PackBuilder
    private var random = SeededBytes(seed: 42)
    private var dataPacks: [PackName] = []
    private static let passphrase = "Käse und Brot"

    init(redacting: Bool = false) throws {
        scratch = try ScratchDirectory()
        made = try VaultKeys.makeVault(
            kind: .serverReadable,
            secrets: [(.passphrase(try Passphrase(Array(HandmadeVault.passphrase.utf8))), "mine")],
            created: Timestamp(seconds: 1_795_169_700), scrypt: ScryptParameters(n: 1024, r: 8, p: 1))
        let vault = made.keys.vault
        let domain = made.keys.defaultDomain(of: machine)
        secret = made.keys.domainSecret(domain: domain, number: 1)
        deriver = BlobKeyDeriver(convergence: secret.secret, number: 1)
        let path = scratch.path + "/vault"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        store = try DirectoryStore(path: path)
        let writer = WriterID.random()
        meta = PackBuilder(vault: vault, writer: writer, packClass: .meta)
        data = PackBuilder(vault: vault, writer: writer, packClass: .data)
        firstPoint = PointID.random()

        try store.put(StoreKey.config, made.config)
        for file in made.files { try store.put(StoreKey.keysPrefix + file.name, file.bytes) }
        try makeTreeAndPoints(vault, domain, redacting)
    }

    // MARK: Contents

    private func makeTreeAndPoints(_ vault: VaultID, _ domain: String, _ redacting: Bool) throws {
        var entries: [[UInt8]: Entry] = [:]
        func add(_ path: String, _ entry: Entry, _ expected: Expected) throws {
            entries[try #require(TreePath(path)).key] = entry
            firstState[path] = expected
        }
        func directory(_ path: String) throws { try add(path, Entry(kind: .directory, mode: 0o755), .directory) }
        func file(_ path: String, _ content: [UInt8], _ entryContent: EntryContent, link: LinkGroup? = nil) throws {
            var entry = Entry(kind: .regular, mode: 0o640, size: UInt64(content.count), content: entryContent)
            entry.mtime = FileTime(seconds: 1_700_000_000 - Int64(content.count), nanoseconds: 123_456_789)
            entry.user = Array("root".utf8)
            entry.linkGroup = link
            try add(path, entry, .file(content))
        }

        try directory("")
        for path in ["etc", "etc/ssh", "srv", "srv/many", "srv/gone", "srv/gone/deep", "srv/Ärger"] {
            try directory(path)
        }
        // A bundle: several files in one blob.
        let small = (0..<20).map { index in random.text(100 + index * 37) }
        let bundle = try blob(small.flatMap { $0 })
        var offset: UInt32 = 0
        for (index, content) in small.enumerated() {
            let extent = Extent(key: bundle, offset: offset, length: UInt64(content.count))
            try file("etc/ssh/key-\(index)", content, .extents([extent]))
            offset += UInt32(content.count)
        }
        // So many names that the tree has more than one level.
        for index in 0..<1500 {
            let name = "srv/many/a-file-with-a-rather-long-name-\(index)-\(random.next())"
            try file(name, small[index % 20], firstContent(of: "etc/ssh/key-\(index % 20)", entries))
        }
        // A list of extents of more than one level, with holes: the same blob forwards and backwards.
        let block = random.noise(100_000)
        let large = try blob(block)
        var list = ExtentListBuilder(seed: secret.extentsSeed, sink: self)
        var content: [UInt8] = []
        for _ in 0..<9000 {
            let start = random.below(99_000)
            let count = 1 + random.below(40)
            if random.below(50) == 0 {
                try list.append(Extent(key: nil, offset: 0, length: UInt64(count)))
                content += [UInt8](repeating: 0, count: count)
            }
            try list.append(Extent(key: large, offset: UInt32(start), length: UInt64(count)))
            content += block[start..<(start + count)]
        }
        let listed = try list.finish()
        guard case .list = listed else { throw HoldfastError(.internalError, "no list of extents was made") }
        try file("srv/large", content, listed)
        try file("srv/empty", [], .none)
        try file(
            "srv/sparse", [UInt8](repeating: 0, count: 70_000) + small[3] + [UInt8](repeating: 0, count: 5000),
            .extents([
                Extent(key: nil, offset: 0, length: 70_000),
                Extent(
                    key: bundle, offset: UInt32(small[..<3].reduce(0) { $0 + $1.count }), length: UInt64(small[3].count)
                ),
                Extent(key: nil, offset: 0, length: 5000),
            ]))
        let group = LinkGroup(device: 1, inode: 77)
        for name in ["srv/one", "srv/two"] {
            try file(name, small[0], firstContent(of: "etc/ssh/key-0", entries), link: group)
        }
        try add(
            "srv/link", Entry(kind: .symbolicLink, mode: 0o777, target: Array("../etc/passwd".utf8)),
            .link("../etc/passwd"))
        try file("srv/gone/deep/file", small[1], firstContent(of: "etc/ssh/key-1", entries))

        var tree = TreeBuilder(seed: secret.treeSeed, sink: self)
        for (key, entry) in entries.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            try tree.append(key: key, entry: entry)
        }
        let root = try tree.finish().root

        // The second point: a delta that deletes, replaces and adds.
        secondState = firstState
        var delta = DeltaCollector()
        delta.deleteTree(try #require(TreePath("srv/gone")))
        for path in ["srv/gone", "srv/gone/deep", "srv/gone/deep/file", "srv/two", "srv/link"] {
            secondState[path] = nil
        }
        delta.delete(try #require(TreePath("srv/two")))
        delta.delete(try #require(TreePath("srv/link")))
        let fresh = random.text(9000)
        delta.put(
            try #require(TreePath("srv/link")),
            Entry(
                kind: .regular, mode: 0o600, size: 9000,
                content: .extents([Extent(key: try blob(fresh), offset: 0, length: 9000)])))
        secondState["srv/link"] = .file(fresh)
        delta.put(try #require(TreePath("srv/zz")), Entry(kind: .directory, mode: 0o700))
        secondState["srv/zz"] = .directory
        let deltaKey = try #require(try delta.delta().store(in: self))

        try storePacks(vault)
        try storeRecords(vault, domain, root: root, delta: deltaKey, redacting ? try redactedRoot() : nil)
    }

    private func firstContent(of path: String, _ entries: [[UInt8]: Entry]) throws -> EntryContent {
        let key = try #require(TreePath(path)).key
        return try #require(entries[key]).content
    }

    /// A tree with nothing but the root directory.
    private func redactedRoot() throws -> ContentKey {
        redactedState = ["": .directory]
        var tree = TreeBuilder(seed: secret.treeSeed, sink: self)
        try tree.append(key: [], entry: Entry(kind: .directory, mode: 0o755))
        let root = try tree.finish().root
        try storePacks(made.keys.vault)
        return root
    }

    // MARK: Blobs and packs

    private func blob(_ plain: [UInt8]) throws -> ContentKey { try put(type: .data, plain: plain, children: []) }

    func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey {
        let key = plain.withUnsafeBytes { deriver.contentKey(type, $0) }
        let id = BlobCrypto.id(of: key)
        if meta.contains(id) || data.contains(id) { return key }
        var framed: [UInt8] = []
        let packed = try plain.withUnsafeBytes {
            try sealer.seal(
                type: type, key: key, id: id, secretNumber: 1,
                references: Set(children.map { BlobCrypto.id(of: $0) }).sorted(), plain: $0, into: &framed)
        }
        if type == .data {
            try data.append(from: framed, packed)
        } else {
            try meta.append(from: framed, packed)
        }
        return key
    }

    private func storePacks(_ vault: VaultID) throws {
        if !data.isEmpty {
            let pack = try data.finish()
            try store.put(StoreKey.pack(pack.name), pack.bytes)
            // A second copy of every blob, in another order.
            var copy = PackBuilder(vault: vault, writer: WriterID.random(), packClass: .data)
            for blob in pack.blobs.reversed() { try copy.append(from: pack.bytes, blob) }
            let other = try copy.finish()
            try store.put(StoreKey.pack(other.name), other.bytes)
            dataPacks += [pack.name, other.name]
        }
        if !meta.isEmpty {
            let pack = try meta.finish()
            try store.put(StoreKey.pack(pack.name), pack.bytes)
        }
    }

    private func storeRecords(
        _ vault: VaultID, _ domain: String, root: ContentKey, delta: ContentKey, _ redacted: ContentKey?
    ) throws {
        let keys = made.keys
        let key = try RecordKey.fresh(for: keys.publicKey, vault: vault)
        let incarnation = IncarnationID.random()
        var previous = LocatorHash.none
        var bodies: [(BlobType, [UInt8], [BlobID])] = []
        let now = Timestamp(seconds: 1_795_170_000)
        let machineRecord = try MachineRecord(
            machine: machine, key: signing.verifyingKey, joined: now, name: "web1", domain: domain,
            signing: keys.vaultSigning)
        bodies.append((.machine, machineRecord.encoded(), []))
        for number in [UInt64(1), 2] {
            var record = PointRecord(root: root)
            if number == 2 { record.deltas = [delta] }
            record.labels = ["before the upgrade"]
            record.host = "web1"
            let references = [root] + record.deltas
            let locator = PointLocator(
                vault: vault, machine: machine, incarnation: incarnation,
                point: number == 1 ? firstPoint : PointID.random(), number: number,
                time: Timestamp(seconds: 1_795_170_000 + Int64(number)), kind: .manual, flags: [], previous: previous,
                references: references.map { BlobCrypto.id(of: $0) })
            let point = try SealedPoint.seal(locator: locator, record: record, key: key, signing: signing)
            previous = locator.hash
            bodies.append((.point, point.encoded(), locator.references))
            if number == 1, let redacted {
                let redaction = try RedactionRecord.seal(
                    locator: locator, time: now, path: Array("srv".utf8), references: [BlobCrypto.id(of: redacted)],
                    record: PointRecord(root: redacted), key: key, signing: keys.vaultSigning)
                bodies.append((.redaction, redaction.encoded(), redaction.references))
            }
        }
        var points = PackBuilder(vault: vault, writer: WriterID.random(), packClass: .points)
        for (type, body, references) in bodies {
            var framed: [UInt8] = []
            let packed = try body.withUnsafeBytes {
                try BlobSealer.frame(record: type, body: $0, references: references, into: &framed)
            }
            try points.append(from: framed, packed)
        }
        let pack = try points.finish()
        try store.put(StoreKey.pack(pack.name), pack.bytes)
    }

    /// Breaks every seal in one copy of the data, and takes the end of the other copy.
    func damage() throws {
        for (index, name) in dataPacks.enumerated() {
            var bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
            if index % 2 == 0 {
                let pack = try SealedPack(parsing: bytes, vault: made.keys.vault)
                for blob in pack.blobs { bytes[Int(blob.range.upperBound) - 1] ^= 1 }
            } else {
                bytes.removeLast(40)
            }
            try store.put(StoreKey.pack(name), bytes, mode: .replacing)
        }
    }

    // MARK: Running the reader

    func read(_ arguments: [String], passphrase: Bool = false) throws -> (status: Int32, text: String) {
        let secrets = scratch.path + (passphrase ? "/passphrase" : "/sheet")
        let text = passphrase ? HandmadeVault.passphrase : made.keySheet.words.joined(separator: "\n")
        try text.write(toFile: secrets, atomically: true, encoding: .utf8)
        return try run([passphrase ? "--passphrase-file" : "--key-sheet", secrets] + arguments)
    }

    func run(_ arguments: [String]) throws -> (status: Int32, text: String) {
        let top = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = [top.path + "/scripts/read-vault.py", scratch.path + "/vault"] + arguments
        let log = scratch.path + "/log"
        #expect(FileManager.default.createFile(atPath: log, contents: nil))
        let handle = try #require(FileHandle(forWritingAtPath: log))
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, try String(contentsOfFile: log, encoding: .utf8))
    }

    func compare(with target: String, below: String, _ expected: [String: Expected]) throws {
        var found: [String: Expected] = [:]
        let manager = FileManager.default
        let paths = [""] + (try manager.subpathsOfDirectory(atPath: target))
        for path in paths {
            let whole = path.isEmpty ? target : "\(target)/\(path)"
            let attributes = try manager.attributesOfItem(atPath: whole)
            switch attributes[.type] as? FileAttributeType {
            case .typeDirectory: found[path] = .directory
            case .typeSymbolicLink: found[path] = .link(try manager.destinationOfSymbolicLink(atPath: whole))
            default: found[path] = .file(Array(try #require(manager.contents(atPath: whole))))
            }
            if case .file(let content) = found[path], path.hasPrefix("etc/ssh/key") {
                let modified = try #require(attributes[.modificationDate] as? Date).timeIntervalSince1970
                #expect(abs(modified - Double(1_700_000_000 - content.count) - 0.123456789) < 0.001)
                #expect(attributes[.posixPermissions] as? Int == 0o640)
            }
        }
        if found["srv/one"] != nil, found["srv/two"] != nil {
            let numbers = try ["srv/one", "srv/two"].map {
                try manager.attributesOfItem(atPath: "\(target)/\($0)")[.systemFileNumber] as? Int
            }
            #expect(numbers[0] == numbers[1], "the names of one file became two files")
        }
        // The directories above what was asked for come without being asked for.
        var wanted = expected.filter { below.isEmpty || $0.key == below || $0.key.hasPrefix(below + "/") }
        var above = below
        while let slash = above.lastIndex(of: "/") {
            above = String(above[..<slash])
            wanted[above] = .directory
        }
        wanted[""] = .directory
        let differing = Set(found.keys).union(wanted.keys).filter { found[$0] != wanted[$0] }.sorted()
        #expect(differing == [], "\(differing.count) paths differ")
    }
}
