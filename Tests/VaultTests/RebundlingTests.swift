import Model
import Testing

@testable import Vault

@Suite("Bundling again") struct RebundlingTests {
    private func key(_ number: Int) -> ContentKey {
        var random = SeededGenerator(UInt64(number) &+ 1)
        return ContentKey(Bytes32(w0: random.next(), w1: random.next(), w2: random.next(), w3: random.next()))
    }

    private func file(_ blob: Int, offset: Int, length: Int) -> Entry {
        Entry(
            kind: .regular, mode: 0o644, size: UInt64(length),
            content: .extents([Extent(key: key(blob), offset: UInt32(offset), length: UInt64(length))]))
    }

    private func plan(
        _ entries: [Entry], salt: UInt64 = 1, limits: RebundlePlanner.Limits = .init(bytes: 64 << 20),
        blobs: Int = 1 << 17
    ) -> RebundlePlan {
        var planner = RebundlePlanner(salt: salt, blobs: blobs)
        for entry in entries { planner.observe(entry) }
        return planner.plan(limits)
    }

    @Test("a bundle of which less than a quarter is used is named, others are not")
    func quarter() {
        let rest = file(1, offset: 90_000, length: 10_000)
        let busy = (0..<10).map { file(2, offset: $0 * 10_000, length: 10_000) }
        let quarter = [file(3, offset: 0, length: 25_000), file(3, offset: 99_999, length: 1)]
        let less = [file(4, offset: 0, length: 24_998), file(4, offset: 99_999, length: 1)]
        let plan = plan([rest] + busy + quarter + less)
        #expect(plan.includes(rest))
        #expect(!plan.includes(busy[0]))
        #expect(!plan.includes(quarter[0]))
        #expect(plan.includes(less[0]) && plan.includes(less[1]))
        #expect(plan.count == 2)
    }

    @Test("entries may come in any order")
    func order() {
        var entries: [Entry] = []
        for number in 0..<200 {
            entries.append(file(number % 20, offset: (number / 20) * 5000, length: number % 20 < 10 ? 5000 : 500))
        }
        var random = SeededGenerator(5)
        let expected = plan(entries)
        #expect(expected.count == 10)
        #expect(plan(entries.shuffled(using: &random)) == expected)
    }

    @Test("files that stand alone are named when they are many and long enough together")
    func alone() {
        func files(_ count: Int, length: Int) -> [Entry] { (0..<count).map { file($0, offset: 0, length: length) } }
        #expect(plan(files(31, length: 10_000)).isEmpty)
        #expect(plan(files(32, length: 100)).isEmpty)
        #expect(plan(files(32, length: 10_000)).count == 32)
        // Two files in one blob do not stand alone.
        let pairs = files(40, length: 10_000) + (0..<40).map { file($0, offset: 10_000, length: 10_000) }
        #expect(plan(pairs).isEmpty)
    }

    @Test("a run does a bounded part, the most wasteful blobs first")
    func bounded() {
        var entries: [Entry] = []
        for number in 0..<100 {
            // The higher the number, the less is used.
            entries.append(file(number, offset: 900_000, length: 10_000 - number * 50))
        }
        let byBytes = plan(entries, limits: .init(bytes: 60_000))
        #expect(byBytes.count > 5 && byBytes.count < 12)
        #expect(byBytes.includes(entries[99]) && !byBytes.includes(entries[0]))
        let byFiles = plan(entries, limits: .init(bytes: 64 << 20, files: 3))
        #expect(byFiles.count == 3 && byFiles.includes(entries[97]))
    }

    @Test("memory is bounded, and other salts look at other blobs until all were looked at")
    func sampled() {
        let entries = (0..<1000).map { file($0, offset: 900_000, length: 1000) }
        var seen: Set<ContentKey> = []
        for salt in 0..<200 as Range<UInt64> {
            let plan = plan(entries, salt: salt, blobs: 100)
            #expect(plan.count <= 100)
            seen.formUnion(plan.blobs)
        }
        #expect(seen.count == 1000)
    }

    @Test("large files, holes and what is not a file are left alone")
    func others() {
        let hole = Entry(
            kind: .regular, mode: 0, content: .extents([Extent(key: nil, offset: 0, length: 100)]))
        let large = file(1, offset: 900_000, length: 65_537)
        let twoSlices = Entry(
            kind: .regular, mode: 0,
            content: .extents([
                Extent(key: key(2), offset: 900_000, length: 1), Extent(key: key(3), offset: 900_000, length: 1),
            ]))
        let list = Entry(kind: .regular, mode: 0, content: .list(key(4), count: 100))
        let directory = Entry(kind: .directory, mode: 0)
        let all = [hole, large, twoSlices, list, directory]
        let plan = plan(all)
        #expect(plan.isEmpty)
        for entry in all { #expect(!plan.includes(entry)) }
    }

    @Test("bundling again settles: what was bundled anew is not named again")
    func settles() {
        // Thirty runs of a tree of small files of which a tenth changes each time.
        var fixture = TreeFixture(seed: 9)
        let sizes = (0..<3000).map { _ in fixture.number(100..<16_000) }
        var files: [Entry] = []
        var blob = 0
        func bundle(_ indices: [Int]) {
            var offset = 0
            blob += 1
            for index in indices {
                if offset + sizes[index] > 256 << 10 {
                    blob += 1
                    offset = 0
                }
                files[index] = file(blob, offset: offset, length: sizes[index])
                offset += sizes[index]
            }
        }
        files = sizes.map { file(0, offset: 0, length: $0) }
        bundle(Array(sizes.indices))
        var plan = RebundlePlan()
        var again: [Int] = []
        for run in 0..<60 {
            let changes = run < 30
            let indices = sizes.indices.filter { index in
                plan.includes(files[index]) || (changes && fixture.number(0..<10) == 0)
            }
            again.append(sizes.indices.count { plan.includes(files[$0]) })
            if !indices.isEmpty { bundle(indices) }
            plan = self.plan(files, salt: UInt64(run), limits: .init(bytes: 4 << 20))
        }
        #expect(again[..<30].reduce(0, +) > 100, "something was bundled again")
        #expect(again.suffix(10).allSatisfy { $0 == 0 }, "it ends when nothing changes: \(again)")
        var used: [ContentKey: (bytes: UInt64, end: UInt64)] = [:]
        for file in files {
            guard let slice = RebundlePlanner.slice(of: file), let key = slice.key else { continue }
            used[key, default: (0, 0)].bytes += slice.length
            used[key, default: (0, 0)].end = max(used[key]?.end ?? 0, UInt64(slice.offset) + slice.length)
        }
        #expect(used.values.allSatisfy { $0.bytes * 4 >= $0.end })
    }

    @Test("a plan is kept as bytes; damaged bytes are refused")
    func coding() throws {
        let entries = (0..<50).map { file($0, offset: 900_000, length: 1000) }
        let plan = plan(entries)
        let bytes = plan.encoded()
        #expect(plan.count == 50)
        #expect(try RebundlePlan.decode(bytes) == plan)
        #expect(try RebundlePlan.decode(RebundlePlan().encoded()).isEmpty)
        for count in 0..<bytes.count {
            #expect(throws: HoldfastError.self) { try RebundlePlan.decode(Array(bytes.prefix(count))) }
        }
        #expect(throws: HoldfastError.self) { try RebundlePlan.decode(bytes + [0]) }
    }

    @Test("the budget follows what the run stored")
    func budget() {
        #expect(RebundlePlanner.Limits.afterRun(newBytes: 0).bytes == 1 << 20)
        #expect(RebundlePlanner.Limits.afterRun(newBytes: 1 << 30).bytes == 32 << 20)
        #expect(RebundlePlanner.Limits.afterRun(newBytes: 1 << 40).bytes == 64 << 20)
    }
}
