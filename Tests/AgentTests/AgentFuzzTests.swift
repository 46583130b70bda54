import Foundation
import Model
import TestSupport
import Testing
import Vault

@testable import Agent

/// Random operations on files, one after the other, while the agent runs. `HOLDFAST_AGENT_SEED` repeats a run,
/// `HOLDFAST_AGENT_ROUNDS` makes it longer.
@Suite("The agent under random operations", .serialized, .enabled(if: canWatch))
struct AgentFuzzTests {
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    @Test(
        "what the vault holds is what the disk holds, whatever happened",
        arguments: [LoopFileSystem.Kind.ext4, .xfs, .btrfs])
    func fuzz(_ kind: LoopFileSystem.Kind) throws {
        let seed = Self.number("HOLDFAST_AGENT_SEED") ?? UInt64.random(in: 1...UInt64(UInt32.max))
        print("agent fuzz on \(kind): HOLDFAST_AGENT_SEED=\(seed)")
        guard let fixture = try AgentFixture(kind) else { return }
        var random = SeededGenerator(seed: seed)
        let delays: [Double] = [0, 0.02, 0.2]
        let settle = delays[Int(random.next() % 3)]
        try fixture.start(settle: settle)
        let rounds = Int(Self.number("HOLDFAST_AGENT_ROUNDS") ?? 12)
        for round in 0..<rounds {
            for _ in 0..<Int.random(in: 5...120, using: &random) { operate(fixture.root, &random) }
            if random.next() % 5 == 0 { usleep(UInt32.random(in: 0...100_000, using: &random)) }
            if random.next() % 4 == 0 {
                // Away for a while, with all that happens meanwhile.
                fixture.service.isCut = true
                for _ in 0..<30 { operate(fixture.root, &random) }
                usleep(UInt32.random(in: 0...200_000, using: &random))
                fixture.service.isCut = false
            }
            if random.next() % 6 == 0 {
                fixture.abandon()
                for _ in 0..<10 { operate(fixture.root, &random) }
                try fixture.start(settle: settle)
            }
            do { try fixture.settle() } catch {
                // One that was asked while the vault was away; the next question is answered.
                try fixture.settle()
            }
            let differences = try fixture.differences()
            #expect(
                differences.isEmpty, "seed \(seed), round \(round): \(differences.count): \(differences.prefix(5))")
            if !differences.isEmpty { return }
        }
        try fixture.checkSequence()
        // What the agent counts is what is there.
        let statistics = try #require(fixture.agent?.status.statistics)
        let reader = try fixture.open(try fixture.newestPoint())
        defer { reader.close() }
        var files: UInt64 = 0
        try reader.tree.scan { item in
            if try item.head().kind == .regular { files += 1 }
            return true
        }
        #expect(statistics.files == files, "seed \(seed)")
    }

    private func operate(_ root: String, _ random: inout SeededGenerator) {
        func path() -> String {
            var path = root
            for _ in 0..<Int.random(in: 1...4, using: &random) { path += "/\(Int.random(in: 0..<6, using: &random))" }
            return path
        }
        let one = path()
        let other = path()
        switch Int.random(in: 0..<17, using: &random) {
        case 0...3: write(one, random.bytes(Int.random(in: 0...3_000, using: &random)), O_TRUNC)
        case 4: write(one, random.bytes(Int.random(in: 100_000...400_000, using: &random)), O_TRUNC)
        case 5: write(one, random.bytes(500), O_APPEND)
        case 6...8: mkdir(one, 0o755)
        case 9: rename(one, other)
        case 10: unlink(one)
        case 11: rmdir(one)
        case 12: if random.next() % 3 == 0 { try? FileManager.default.removeItem(atPath: one) }
        case 13: chmod(one, [0o600, 0o644, 0o755].randomElement(using: &random) ?? 0o600)
        case 14: symlink(other, one)
        case 15: link(one, other)
        default:
            // As editors save.
            let temporary = one + "~"
            write(temporary, random.bytes(900), O_TRUNC)
            rename(temporary, one)
        }
    }

    private func write(_ path: String, _ bytes: [UInt8], _ flags: Int32) {
        let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0o644)
        if file < 0 { return }
        _ = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        close(file)
    }
}
