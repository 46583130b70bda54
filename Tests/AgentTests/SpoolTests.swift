@testable import Catalog
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent
@testable import Capture

@Suite("The spool under an agent", .serialized, .enabled(if: canWatch))
struct SpoolServiceTests {
    @Test("every version that is saved while the vault is away is a point of its own when it is back")
    func away() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("letter", "before")
        try fixture.start(settle: 0.5)
        fixture.service.isCut = true
        var expected = ["before"]
        for round in 1...5 {
            expected.append("version \(round)")
            fixture.put("letter", "version \(round)")
            try fixture.spoolNow()
        }
        #expect(fixture.agent?.status.spooled == true)
        #expect(fixture.agent?.status.lag ?? 0 > 0)
        fixture.service.isCut = false
        try fixture.settle()
        #expect(try fixture.history("letter") == expected)
        #expect(fixture.agent?.status.lag == 0)
        try fixture.checkSequence()
        try fixture.checkNewest()
    }

    @Test("what was captured without the vault survives the end of the agent, and so does what happened in between")
    func restartedAway() throws {
        guard let fixture = try AgentFixture() else { return }
        for index in 0..<30 { fixture.put("\(index)", "file \(index)") }
        try fixture.start(settle: 0.5)
        fixture.service.isCut = true
        fixture.put("letter", "one")
        try fixture.spoolNow()
        fixture.put("letter", "two")
        unlink("\(fixture.root)/7")
        try fixture.spoolNow()
        fixture.abandon()
        fixture.put("letter", "three")
        unlink("\(fixture.root)/8")
        // Without the vault the start compares with what is known, which takes no full backup.
        try fixture.start(settle: 0.5, waiting: { $0.scans > 0 && $0.waiting == 0 })
        fixture.put("letter", "four")
        try fixture.spoolNow()
        fixture.abandon()
        fixture.service.isCut = false
        try fixture.start(settle: 0.5)
        try fixture.settle()
        #expect(try fixture.history("letter") == ["one", "two", "three", "four"])
        try fixture.checkSequence()
        try fixture.checkNewest()
    }

    @Test("a commit that was done and not heard of is not made twice, not even by the next run")
    func unheard() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: 0.5)
        let above = "\(fixture.root)-\(UUID().uuidString)"
        defer { rmdir(above) }
        for restarts in [false, true] {
            let before = try fixture.points().count
            fixture.service.cutsAfterCommit = true
            fixture.put("letter", "restarts: \(restarts)")
            try fixture.spoolNow()
            try fixture.waits { $0.problem != nil }
            if restarts { fixture.abandon() }
            // Beside what is protected somebody works, which makes no point.
            rmdir(above)
            mkdir(above, 0o700)
            fixture.service.cutsAfterCommit = false
            fixture.service.isCut = false
            if restarts { try fixture.start(settle: 0.5) }
            try fixture.settle()
            #expect(try fixture.points().count == before + 1, "restarts: \(restarts)")
        }
        try fixture.checkSequence()
        try fixture.checkNewest()
    }

    @Test("a full spool keeps the last version of every path, says so, and empties when the vault is back")
    func full() throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 11)
        fixture.put("steady", random.bytes(200_000))
        try fixture.start(settle: 0.5) { $0.spoolLimits.size = 3 << 20 }
        fixture.service.isCut = true
        var last: [[UInt8]] = [[], [], []]
        for round in 0..<30 {
            last[round % 3] = random.bytes(400_000)
            fixture.put("large-\(round % 3)", last[round % 3])
            try fixture.spoolNow()
            #expect(try #require(fixture.agent).status.spoolBytes <= 3 << 20)
        }
        // More than fits, in paths that have no other version: they wait as paths.
        for index in 0..<8 { fixture.put("further-\(index)", random.bytes(500_000)) }
        #expect(throws: (any Error).self) { try fixture.spoolNow() }
        try fixture.waits { $0.isSpoolFull }
        fixture.service.isCut = false
        try fixture.waits(seconds: 60) { $0.lag == 0 && $0.problem == nil && !$0.isSpoolFull }
        try fixture.settle()
        for index in 0..<3 { #expect(try fixture.newest("large-\(index)") == last[index]) }
        try fixture.checkNewest()
        try fixture.checkSequence()
        let labels = try fixture.points().map { point in
            let reader = try fixture.open(point.id)
            defer { reader.close() }
            return reader.record.labels
        }
        #expect(labels.contains { $0.contains(Spool.thinnedLabel) })
    }

    @Test("a spool that does not hold what was put there costs the versions, and not the files")
    func damaged() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: 0.5)
        fixture.service.isCut = true
        fixture.put("letter", String(repeating: "one ", count: 2_000))
        try fixture.spoolNow()
        fixture.put("letter", String(repeating: "two ", count: 2_000))
        try fixture.spoolNow()
        let folder = fixture.directory + "/spool/packs"
        let packs = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(packs.count == 2)
        for pack in packs {
            var bytes = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(pack)"))
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: URL(fileURLWithPath: "\(folder)/\(pack)"))
        }
        fixture.service.isCut = false
        try fixture.waits(seconds: 60) { $0.lag == 0 && $0.problem == nil && $0.waiting == 0 }
        try fixture.settle()
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    enum BadIndex: CaseIterable { case overwritten, pages, foreign }

    @Test("an index that is damaged, or from another version, is made anew", arguments: BadIndex.allCases)
    func badIndex(_ kind: BadIndex) throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: 0.5)
        fixture.put("letter", "one")
        try fixture.settle()
        fixture.abandon()
        let path = fixture.directory + "/spool/index.sqlite"
        switch kind {
        case .overwritten:
            for end in ["-wal", "-shm"] { unlink(path + end) }
            try Data(repeating: 7, count: 40_000).write(to: URL(fileURLWithPath: path))
        case .foreign: try SpoolIndex(path: path).pretendVersion(99)
        case .pages:
            try SpoolIndex(path: path).synchronize()
            for end in ["-wal", "-shm"] { unlink(path + end) }
            // It can be opened, and fails at some table that is used later.
            var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(bytes.count > 20_000)
            for page in stride(from: 8_192, to: bytes.count, by: 8_192) {
                bytes.replaceSubrange(page..<(page + 200), with: Data(repeating: 7, count: 200))
            }
            try bytes.write(to: URL(fileURLWithPath: path))
        }
        fixture.put("letter", "two")
        try fixture.start(settle: 0.5)
        try fixture.settle()
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    @Test("versions stay as history for as long as was said, and can be opened without the vault")
    func localHistory() throws {
        guard let fixture = try AgentFixture() else { return }
        mkdir("\(fixture.root)/folder", 0o755)
        try fixture.start(settle: 0.5)
        for round in 1...3 {
            fixture.put("folder/letter", "version \(round)")
            try fixture.settle()
        }
        try FileManager.default.removeItem(atPath: "\(fixture.root)/folder")
        try fixture.settle()
        fixture.service.isCut = true
        let agent = try #require(fixture.agent)
        let history = LocalHistory(spool: agent.spool, secret: fixture.machine.secrets.domainSecret)
        let path = fixture.path("folder/letter")
        let versions = try history.versions(of: path)
        #expect(versions.map { $0.entry == nil } == [false, false, false, true])
        for (index, version) in versions.prefix(3).enumerated() {
            let entry = try #require(version.entry?.entry)
            var bytes: [UInt8] = []
            try history.read(entry) {
                bytes += Array($0)
                return true
            }
            #expect(bytes == Array("version \(index + 1)".utf8))
        }
        // What is older than the history goes, what waits stays.
        fixture.put("waits", "not sent")
        try fixture.spoolNow()
        #expect(try agent.spool.index.summary().moments == 5)
        try agent.spool.makeRoom(now: Timestamp(nanoseconds: SystemClock.wall + 80 * 3_600_000_000_000))
        #expect(try agent.spool.index.summary().moments == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/spool/packs").count == 1)
        fixture.service.isCut = false
        try fixture.settle()
        try fixture.checkNewest()
    }
}

@Suite("Questions to an agent")
struct AgentSocketTests {
    private let directory = NSTemporaryDirectory() + "holdfast-socket-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) }

    @Test("one user holds no more than a part of the places of the public socket", arguments: [true, false])
    func places(_ isOpen: Bool) throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // As the program does: who goes away before the answer comes must not end it.
        signal(SIGPIPE, SIG_IGN)
        let server = try AgentSocket.Server(directory: Array(directory.utf8), isOpen: isOpen) { _, _ in
            .fields(["fine": .bool(true)])
        }
        defer { server.stop() }
        func ask() throws -> JSONFields { try AgentSocket.ask(["command": .string("x")], state: Array(directory.utf8)) }
        for _ in 0..<100 { #expect(try ask().boolean("fine")) }
        // These say nothing, and hold their places.
        let silent = try (0..<8).map { _ in try Held(directory) }
        if isOpen {
            let refused = #expect(throws: HoldfastError.self) { while true { _ = try ask() } }
            #expect(refused?.code == .busy || refused?.code == .notFound)
        } else {
            #expect(try ask().boolean("fine"))
        }
        for held in silent { held.close() }
        let end = ContinuousClock.now + .seconds(20)
        var answer: JSONFields?
        while answer == nil, ContinuousClock.now < end { answer = try? ask() }
        #expect(try #require(answer).boolean("fine"))
    }

    private final class Held {
        private var socket: FileDescriptor?

        init(_ directory: String) throws {
            socket = try LocalSocket.connect(directory: Array(directory.utf8), name: AgentSocket.name)
        }

        func close() { socket = nil }
    }

    @Test("a path with more versions than fit into an answer is told of in pages")
    func pages() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let spool = try Spool(directory: Array(directory.utf8), vault: VaultID(high: 1, low: 2))
        let path = try #require(TreePath("letter"))
        for number in 1...4_500 {
            var entry = Entry(kind: .regular, mode: 0o644)
            entry.size = UInt64(number)
            var changes = EntryMemory.Changes()
            changes.puts = [
                CachedEntry(
                    key: path.key,
                    identity: FileIdentity(device: 1, inode: 5, changeTime: FileTime(seconds: 1, nanoseconds: 2)),
                    entry: entry, contentHash: nil, chunks: [], pieces: [])
            ]
            _ = try spool.append(
                changes, PointRecord(root: ContentKey(.zero)), time: Timestamp(nanoseconds: Int64(number)),
                totals: PointStatistics()
            ) { _ in [] }
        }
        let secret = try #require(DomainSecret(secret: [UInt8](repeating: 1, count: 32), domain: "vault", number: 1))
        let history = LocalHistory(spool: spool, secret: secret)
        let server = try AgentSocket.Server(directory: Array(directory.utf8), isOpen: true) { question, _ in
            try history.answer(question, LocalPerson(uid: 0, gid: 0, groups: [])) ?? .fields([:])
        }
        defer { server.stop() }
        var sizes: [Int64] = []
        var before: Int64 = .max
        var isMore = true
        while isMore {
            let answer = try AgentSocket.ask(
                [
                    "command": .string("history"), "path": .string(Hex.encode(path.bytes)), "before": .integer(before),
                ], state: Array(directory.utf8))
            let page = try answer.array("versions", atMost: 10_000).map { try JSONFields($0, document: "version") }
            sizes = try page.map { try $0.integer("size", in: 0...10_000) } + sizes
            before = try #require(page.first).integer("sequence", in: 1...10_000)
            isMore = try answer.boolean("more")
        }
        #expect(sizes == (1...4_500).map { Int64($0) })
    }
}

@Suite("The spool's index")
struct SpoolIndexTests {
    private let names = (0..<6).map { "d\($0)" }

    /// A path of at most three names from a few.
    private func path(_ random: inout SeededGenerator) -> TreePath {
        let length = Int.random(in: 1...3, using: &random)
        let parts = (0..<length).map { _ in names[Int.random(in: 0..<names.count, using: &random)] }
        return TreePath(parts.joined(separator: "/")) ?? .root
    }

    private func entry(_ path: TreePath, _ number: UInt64) -> CachedEntry {
        var entry = Entry(kind: .regular, mode: 0o644)
        entry.size = number
        return CachedEntry(
            key: path.key,
            identity: FileIdentity(device: 1, inode: number, changeTime: FileTime(seconds: 1, nanoseconds: 2)),
            entry: entry, contentHash: nil, chunks: [], pieces: [])
    }

    private func changes(_ random: inout SeededGenerator, _ number: inout UInt64) -> EntryMemory.Changes {
        var changes = EntryMemory.Changes()
        var used: Set<TreePath> = []
        for _ in 0..<Int.random(in: 0...1, using: &random) { changes.emptied.append(path(&random).key) }
        for _ in 0..<Int.random(in: 1...5, using: &random) {
            let path = path(&random)
            guard used.insert(path).inserted else { continue }
            number += 1
            if Bool.random(using: &random) {
                changes.puts.append(entry(path, number))
            } else {
                changes.gone.append(path.key)
            }
        }
        return changes
    }

    /// What is there after some changes.
    private struct Model: Equatable {
        var sizes: [[UInt8]: UInt64] = [:]

        mutating func apply(_ changes: EntryMemory.Changes) {
            for key in changes.emptied {
                guard let above = TreePath(key: key) else { continue }
                sizes = sizes.filter { item in
                    guard let path = TreePath(key: item.key), path != above else { return true }
                    return !above.contains(path)
                }
            }
            for key in changes.gone { sizes[key] = nil }
            for put in changes.puts { sizes[put.key] = put.entry.size }
        }
    }

    @Test(
        "what is known after many moments, and many moments joined into one, have the effect of all one after the other"
    )
    func joining() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<60 {
            let folder = NSTemporaryDirectory() + "holdfast-spool-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let index = try SpoolIndex(path: folder + "/index")
            var model = Model()
            var joined = EntryMemory.Joined()
            var number: UInt64 = 0
            // Something from before, that the emptied directories hide.
            for _ in 0..<10 {
                number += 1
                model.sizes[path(&random).key] = number
            }
            let before = model
            for _ in 0..<Int.random(in: 2...12, using: &random) {
                let next = changes(&random, &number)
                model.apply(next)
                joined.add(next)
                _ = try index.append(
                    next, PointRecord(root: ContentKey(.zero)), time: Timestamp(nanoseconds: 5),
                    totals: PointStatistics())
            }
            var byKnown = before
            byKnown.apply(try index.known())
            #expect(byKnown == model)
            var byJoined = before
            byJoined.apply(joined.changes)
            #expect(byJoined == model)
            _ = try index.joinWaiting(after: 0, label: "joined")
            let single = try #require(try index.firstWaiting())
            var byMoment = before
            byMoment.apply(try index.changes(of: single.sequence))
            #expect(byMoment == model)
            #expect(try index.summary().waiting == 1)
            #expect(single.record.labels.contains("joined"))
        }
    }

    @Test("a pack that is rewritten is sent where the old one would have been: before those that name its blobs")
    func rewrittenOrder() throws {
        let folder = NSTemporaryDirectory() + "holdfast-spool-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let index = try SpoolIndex(path: folder + "/index")
        var random = SeededGenerator(seed: 5)
        func digest() throws -> Bytes32 { try #require(Bytes32(random.bytes(32))) }
        let keys = [ContentKey(try digest()), ContentKey(try digest())]
        let names = [PackName(try digest()), PackName(try digest()), PackName(try digest())]
        let blobs = keys.map { SpoolBlob(id: BlobCrypto.id(of: $0), key: $0, start: 60, length: 100) }
        for number in 0..<2 { try index.add(names[number], bytes: 1_000, [blobs[number]]) }
        var put = entry(try #require(TreePath("a")), 200)
        put.entry.content = .extents(keys.map { Extent(key: $0, offset: 0, length: 100) })
        var changes = EntryMemory.Changes()
        changes.puts = [put]
        let sequence = try index.append(
            changes, PointRecord(root: ContentKey(.zero)), time: Timestamp(nanoseconds: 5), totals: PointStatistics())
        let first = try #require(try index.unsentPacks(of: sequence).first)
        #expect(first.name == names[0])
        try index.replace(first, with: names[2], bytes: 500, [blobs[0]])
        #expect(try index.unsentPacks(of: sequence).map(\.name) == [names[2], names[1]])
        #expect(try index.oldestWaiting() == Timestamp(nanoseconds: 5))
    }

    @Test("an entry with everything in it comes back as it was")
    func coding() throws {
        var cached = entry(try #require(TreePath("a/b")), 5)
        cached.contentHash = ContentHash(high: 1, low: 2)
        cached.chunks = [CachedChunk(length: 7, hash: 8, key: ContentKey(.zero))]
        cached.pieces = [ContentKey(.zero)]
        cached.entry.content = .list(ContentKey(.zero), count: 3)
        cached.entry.attributes = [ExtendedAttribute(name: Array("user.x".utf8), value: [1, 2])]
        cached.entry.linkGroup = LinkGroup(device: 3, inode: 4)
        #expect(try CachedEntry(decoding: cached.encoded(), key: cached.key) == cached)
        #expect(throws: HoldfastError.self) { try CachedEntry(decoding: Array(cached.encoded().dropLast()), key: []) }
    }
}
