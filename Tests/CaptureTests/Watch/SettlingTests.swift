import Model
import TestSupport
import Testing

@testable import Capture

private let second: Int64 = 1_000_000_000

private func path(_ text: String) -> TreePath { TreePath(text) ?? .root }

/// The state machine behind a reference, which expectations can call.
private final class Steps {
    private var settling: Settling
    init(durations: Settling.Durations = .standard, limit: Int = 100_000, byteLimit: Int = 32 << 20) {
        settling = Settling(durations: durations, limit: limit, byteLimit: byteLimit)
    }
    func add(_ fact: DirtyFact, at now: Int64) { settling.add(fact, at: now) }
    func due(at now: Int64) -> [Settling.Change] { settling.due(at: now) }
    func hold(_ paths: [TreePath], until time: Int64, at now: Int64) { settling.hold(paths, until: time, at: now) }
    var next: Int64? { settling.next }
    var count: Int { settling.count }
    var isEmpty: Bool { settling.isEmpty }
}

@Suite("Settling")
struct SettlingTests {
    @Test("a closed file is due after a quiet second, a file that is written after five")
    func quiet() {
        let settling = Steps()
        settling.add(.file(path("/a"), .closed), at: 0)
        settling.add(.file(path("/b"), .open), at: 0)
        #expect(settling.next == second)
        #expect(settling.due(at: second - 1) == [])
        #expect(settling.due(at: second) == [.path(path("/a"), isFuzzy: false)])
        #expect(settling.next == 5 * second)
        settling.add(.file(path("/b"), .open), at: 3 * second)
        #expect(settling.next == 8 * second)
        settling.add(.file(path("/b"), .closed), at: 4 * second)
        #expect(settling.due(at: 5 * second) == [.path(path("/b"), isFuzzy: false)])
        #expect(settling.next == nil && settling.isEmpty)
    }

    @Test("a file that never rests is due after a minute, as fuzzy")
    func fuzzy() {
        let settling = Steps()
        for moment in 0..<60 {
            settling.add(.file(path("/log"), .open), at: Int64(moment) * second)
            #expect(settling.due(at: Int64(moment) * second) == [])
        }
        #expect(settling.next == 60 * second)
        #expect(settling.due(at: 60 * second) == [.path(path("/log"), isFuzzy: true)])
        settling.add(.file(path("/log"), .open), at: 61 * second)
        #expect(settling.next == 66 * second)
    }

    @Test("what is held back comes out later, as fuzzy, and nothing else waits for it")
    func held() {
        let settling = Steps()
        settling.add(.file(path("/base"), .open), at: 0)
        settling.hold([path("/base")], until: 100 * second, at: 0)
        settling.add(.file(path("/note"), .closed), at: 0)
        #expect(settling.due(at: 10 * second) == [.path(path("/note"), isFuzzy: false)])
        #expect(settling.next == 100 * second)
        for moment in 11..<100 { settling.add(.file(path("/base"), .open), at: Int64(moment) * second) }
        #expect(settling.due(at: 99 * second) == [])
        #expect(settling.due(at: 100 * second) == [.path(path("/base"), isFuzzy: true)])
        // The time is over.
        settling.add(.file(path("/base"), .closed), at: 200 * second)
        #expect(settling.next == 201 * second)
        // Who wants all that has happened gets it.
        settling.hold([path("/base")], until: 900 * second, at: 200 * second)
        #expect(settling.next == 900 * second)
        #expect(settling.due(at: .max) == [.path(path("/base"), isFuzzy: false)])
        #expect(settling.next == nil)
    }

    @Test("a change of metadata does not cut the wait for a writer short")
    func metadata() {
        let settling = Steps()
        settling.add(.file(path("/a"), .open), at: 0)
        settling.add(.file(path("/a"), .metadata), at: second)
        #expect(settling.next == 6 * second)
    }

    @Test("a deletion waits two seconds, and a new file in its place is a file")
    func deletion() {
        let settling = Steps()
        settling.add(.entry(directory: path("/d"), name: Array("a".utf8), .deleted), at: 0)
        #expect(settling.next == 2 * second)
        settling.add(.entry(directory: path("/d"), name: Array("a".utf8), .created), at: second / 2)
        #expect(settling.due(at: 3 * second / 2) == [.path(path("/d/a"), isFuzzy: false)])
    }

    @Test("a rename alone moves the entry, one after a change does not; the old name is looked at later")
    func renames() {
        let settling = Steps()
        settling.add(.renamed(from: path("/a"), to: path("/b"), isDirectory: false), at: 0)
        settling.add(.renamed(from: path("/b"), to: path("/c"), isDirectory: false), at: second / 2)
        settling.add(.file(path("/c"), .metadata), at: second / 2)
        #expect(
            settling.due(at: 2 * second) == [.moved(from: path("/a"), to: path("/c"), isDirectory: false)])
        #expect(
            Set(settling.due(at: 3 * second)) == [.path(path("/a"), isFuzzy: false), .path(path("/b"), isFuzzy: false)])
        settling.add(.file(path("/new"), .closed), at: 0)
        settling.add(.renamed(from: path("/new"), to: path("/doc"), isDirectory: false), at: 0)
        #expect(settling.due(at: second) == [.path(path("/doc"), isFuzzy: false)])
        _ = settling.due(at: .max)
        settling.add(.renamed(from: path("/d"), to: path("/e"), isDirectory: true), at: 0)
        settling.add(.file(path("/e/x"), .closed), at: 0)
        #expect(settling.due(at: second).contains(.moved(from: path("/d"), to: path("/e"), isDirectory: true)))
    }

    @Test("with nothing to wait for everything is due at once, and a lost file system always is")
    func immediate() {
        let settling = Steps(durations: .none)
        settling.add(.file(path("/a"), .open), at: 7)
        settling.add(.entry(directory: path("/"), name: Array("b".utf8), .deleted), at: 7)
        #expect(Set(settling.due(at: 7)) == [.path(path("/a"), isFuzzy: false), .path(path("/b"), isFuzzy: false)])
        let patient = Steps()
        patient.add(.fileSystem(path("/x"), lost: .overflow), at: 0)
        patient.add(.fileSystem(path("/x"), lost: .overflow), at: 0)
        #expect(patient.next == .min)
        #expect(patient.due(at: 0) == [.fileSystem(path("/x"), .overflow)])
    }

    @Test("above the limit siblings become their directory, and what is below it is taken in")
    func collapse() {
        let settling = Steps(limit: 100)
        for index in 0..<100 { settling.add(.file(path("/big/\(index)"), .closed), at: 0) }
        settling.add(.file(path("/other/a"), .closed), at: 0)
        #expect(settling.count <= 50)
        settling.add(.file(path("/big/late"), .open), at: second / 2)
        settling.add(.file(path("/big/deep/late"), .closed), at: second / 2)
        #expect(settling.due(at: second) == [.path(path("/other/a"), isFuzzy: false)])
        #expect(settling.due(at: 6 * second) == [.subtree(path("/big"), isFuzzy: false)])
        let deep = Steps(limit: 16)
        for index in 0..<1000 { deep.add(.file(path("/a/\(index)/x/y"), .closed), at: 0) }
        #expect(deep.count <= 17)
        #expect(deep.due(at: second) == [.subtree(path("/a"), isFuzzy: false)])
    }

    @Test("long names count as well")
    func bytes() {
        let settling = Steps(byteLimit: 64 << 10)
        let name = String(repeating: "n", count: 250)
        for index in 0..<1000 { settling.add(.file(path("/d/\(index)\(name)"), .closed), at: 0) }
        #expect(settling.count < 300)
    }

    @Test("whatever happens, each path is due in time, never early, and nothing is forgotten", arguments: [16, 10_000])
    func property(limit: Int) {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<60 {
            let durations = Settling.Durations(
                afterClose: .random(in: 0...3, using: &random), afterWrite: .random(in: 0...9, using: &random),
                most: .random(in: 0...60, using: &random), deletion: .random(in: 0...4, using: &random))
            let settling = Steps(durations: durations, limit: limit)
            /// Paths that are owed: when they were touched first and last.
            var owed: [TreePath: (first: Int64, last: Int64)] = [:]
            let shortest = min(durations.afterClose, durations.afterWrite, durations.deletion)
            let longest = max(durations.afterClose, durations.afterWrite, durations.deletion)
            // Where paths stay by themselves more can be said of their times.
            let isPlain = limit > 1000 && Bool.random(using: &random)
            func touch(_ path: TreePath, _ now: Int64) { owed[path] = (owed[path]?.first ?? now, now) }
            func settle(_ changes: [Settling.Change], _ now: Int64) {
                for change in changes {
                    if isPlain, case .path(let path, let isFuzzy) = change, let known = owed[path] {
                        #expect(isFuzzy || now >= known.last + shortest)
                    }
                    for path in owed.keys {
                        let isMeant =
                            switch change {
                            case .path(let due, _): due == path
                            case .moved(_, let to, let isDirectory): isDirectory ? to.contains(path) : to == path
                            case .subtree(let due, _): due.contains(path)
                            case .fileSystem: false
                            }
                        // Only what was due: a change that came out is not owed any more.
                        if isMeant { owed[path] = nil }
                    }
                }
            }
            func name() -> TreePath {
                path(
                    (0..<Int.random(in: 1...4, using: &random)).map { _ in "/\(Int.random(in: 0..<4, using: &random))" }
                        .joined())
            }
            var now: Int64 = 0
            for _ in 0..<300 {
                let one = name()
                switch Int.random(in: 0..<(isPlain ? 5 : 7), using: &random) {
                case 0: settling.add(.file(one, .closed), at: now)
                case 1: settling.add(.file(one, .open), at: now)
                case 2: settling.add(.file(one, .metadata), at: now)
                case 3: settling.add(.entry(directory: one.parent ?? .root, name: Array(one.name), .created), at: now)
                case 4: settling.add(.entry(directory: one.parent ?? .root, name: Array(one.name), .deleted), at: now)
                case 5: settling.add(.subtree(one), at: now)
                default:
                    let other = name()
                    settling.add(.renamed(from: one, to: other, isDirectory: .random(using: &random)), at: now)
                    touch(other, now)
                }
                touch(one, now)
                #expect(settling.count <= max(limit, 16) + 2)
                now += Int64.random(in: 0...2, using: &random)
                if Bool.random(using: &random) {
                    if let next = settling.next {
                        #expect(settling.due(at: next - 1) == [])
                        if next <= now {
                            let due = settling.due(at: now)
                            #expect(!due.isEmpty)
                            settle(due, now)
                        }
                    }
                    for (path, known) in owed {
                        let latest = known.first + durations.most
                        #expect(now < (isPlain ? min(latest, known.last + longest) : latest), "\(path.displayText)")
                    }
                }
            }
            settle(settling.due(at: .max), .max)
            #expect(owed.isEmpty && settling.isEmpty && settling.next == nil)
        }
    }
}

@Suite("Rolling scan")
struct RollingScanTests {
    @Test("each directory belongs to one hour, and the hours are about equally full")
    func slices() {
        var counts = [Int](repeating: 0, count: 24)
        for index in 0..<24_000 {
            let directory = path("/home/user\(index % 7)/project/\(index)")
            let slices = (0..<24).filter { RollingScan.Slice(number: $0).includes(directory) }
            #expect(slices.count == 1)
            counts[slices[0]] += 1
        }
        #expect(counts.allSatisfy { (700...1300).contains($0) }, "\(counts)")
    }

    @Test("missed hours are made up for, a day's worth at most, and a clock put back does not stop it")
    func due() {
        let hour = RollingScan.period
        let first = RollingScan.due(at: 100 * hour + 5, done: nil)
        #expect(first.slices == [.init(number: 100 % 24)] && first.done == 100)
        #expect(RollingScan.due(at: 100 * hour + 9, done: 100).slices.isEmpty)
        #expect(RollingScan.due(at: 103 * hour, done: 100).slices.map(\.number) == [101, 102, 103].map { $0 % 24 })
        #expect(Set(RollingScan.due(at: 500 * hour, done: 100).slices).count == 24)
        #expect(RollingScan.due(at: 99 * hour, done: 100).slices.isEmpty)
        #expect(RollingScan.due(at: 10 * hour, done: 100).done == 10)
    }

    @Test("plans join, and say which directories to look at and which to pass by")
    func plans() {
        var plan = ScanPlan(subtrees: [path("/a/b"), path("/a/b/c"), path("/d")], reason: .subtree)
        #expect(plan.subtrees == [path("/a/b"), path("/d")])
        #expect(plan.includes(path("/a/b/x"), on: .root) && !plan.includes(path("/a"), on: .root))
        #expect(plan.reaches(path("/a"), on: .root) && !plan.reaches(path("/x"), on: .root))
        plan.formUnion(ScanPlan(fileSystems: [path("/mnt")], reason: .loss(.overflow)))
        #expect(plan.includes(path("/mnt/x"), on: path("/mnt")) && !plan.includes(path("/mnt/y/z"), on: path("/mnt/y")))
        #expect(plan.reaches(path("/"), on: .root, mounts: [path("/mnt")]) && !plan.isIdle)
        plan.formUnion(ScanPlan(subtrees: [path("/a")], reason: .rolling))
        #expect(plan.subtrees == [path("/a"), path("/d")])
        #expect(ScanPlan(slices: [.init(number: 3)], reason: .rolling).isIdle)
    }

    @Test("losses are told at once, then with growing pauses, and the last one always")
    func backOff() {
        var state = OverflowBackOff()
        func lost() { state.lost() }
        func take(_ now: Int64) -> Bool { state.take(at: now) }
        func next() -> Int64? { state.next }
        #expect(!take(0) && next() == nil)
        lost()
        #expect(take(0))
        lost()
        #expect(!take(second) && next() == 10 * second)
        #expect(take(10 * second))
        lost()
        #expect(!take(29 * second) && take(30 * second))
        lost()
        #expect(take(3000 * second))
        lost()
        #expect(take(3010 * second))
    }
}
