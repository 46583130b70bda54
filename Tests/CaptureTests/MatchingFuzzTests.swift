import Foundation
import Testing

@testable import Capture

private struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Compares our patterns with those of git itself: random trees, random patterns, every path.
@Suite struct MatchingFuzzTests {
    private static let names: [[UInt8]] =
        [
            "a", "b", "ab", "ba", "abc", "a.o", "b.o", "foo", "bar", "foobar", "a*b", "[x]", "a b", "!x", "#x", "x ",
            "a\\b", "A", "0", "-", "]", "a-b", "é",
        ]
        .map { Array($0.utf8) } + [[0xFF], [0x61, 0xFE]]

    private static let pieces: [String] = [
        "a", "b", "ab", "foo", "bar", ".o", "*", "*", "**", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[[:alpha:]]",
        "[[:upper:]0]",
        "[]x]", "[x", "\\a", "\\*", "\\[", "\\!", "-", " ", "x", "é", "\\", "[a-", "[\\]a]", "[!]]", "***", "#", "!",
        "[[:bad:]]", "[[:a]",
    ]

    private func pattern(_ random: inout Seeded) -> [UInt8] {
        var text: [UInt8] = []
        if Int.random(in: 0..<5, using: &random) == 0 { text += Array("!".utf8) }
        if Int.random(in: 0..<4, using: &random) == 0 { text += Array("/".utf8) }
        let components = [1, 1, 1, 2, 2, 3, 4].randomElement(using: &random)!
        for index in 0..<components {
            if index > 0 { text += Array(Int.random(in: 0..<30, using: &random) == 0 ? "\\/".utf8 : "/".utf8) }
            switch Int.random(in: 0..<6, using: &random) {
            case 0: text += Array("**".utf8)
            case 1, 2: text += Self.names.randomElement(using: &random)!
            default:
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    text += Array(Self.pieces.randomElement(using: &random)!.utf8)
                }
            }
        }
        if Int.random(in: 0..<5, using: &random) == 0 { text += Array("/".utf8) }
        if Int.random(in: 0..<20, using: &random) == 0 { text += Array("  ".utf8) }
        return text
    }

    /// git takes `x**/y` for `**/y` after the bytes `x`, against its own documentation ("other consecutive asterisks
    /// are considered regular asterisks"); we do as the documentation says.
    private func isOddOfGit(_ line: [UInt8]) -> Bool {
        var text = line[...]
        if text.first == UInt8(ascii: "!") { text = text.dropFirst() }
        if text.last == UInt8(ascii: "/") { text = text.dropLast() }
        guard text.contains(UInt8(ascii: "/")) else { return false }
        guard let special = text.firstIndex(where: { Array("*?[\\".utf8).contains($0) }) else { return false }
        let star = UInt8(ascii: "*")
        return special > text.startIndex && text[special - 1] != UInt8(ascii: "/") && text[special] == star
            && special + 1 < text.endIndex && text[special + 1] == star
    }

    @Test(
        "random patterns exclude exactly what git ignores",
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/git"), "git is not installed"))
    func againstGit() throws {
        let seed =
            ProcessInfo.processInfo.environment["HOLDFAST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 1 ... .max)
        let rounds = ProcessInfo.processInfo.environment["HOLDFAST_ROUNDS"].flatMap(Int.init) ?? 60
        print("seed \(seed)")
        var random = Seeded(state: seed)
        let root = "\(NSTemporaryDirectory())/holdfast-git-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { _ = shell("rm -rf '\(root)'") }
        #expect(shell("cd '\(root)' && git init -q . && git config core.excludesFile /dev/null").status == 0)

        // A tree three deep. Directories are made by a script: Foundation cannot hold names that are not UTF-8.
        var entries: [[UInt8]: Bool] = [:]
        for _ in 0..<400 {
            var path: [UInt8] = []
            let depth = Int.random(in: 1...4, using: &random)
            for level in 0..<depth {
                let isLast = level == depth - 1
                let next = (path.isEmpty ? [] : path + [0x2F]) + Self.names.randomElement(using: &random)!
                if entries[next] == false { break }
                let isDirectory = entries[next] ?? (!isLast || Bool.random(using: &random))
                entries[next] = isDirectory
                path = next
            }
        }
        let paths = entries.keys.sorted { $0.lexicographicallyPrecedes($1) }
        func list(_ name: String, _ chosen: [[UInt8]]) throws {
            try Data(chosen.flatMap { $0 + [0] }).write(to: URL(fileURLWithPath: root + "/.git/" + name))
        }
        try list("directories", paths.filter { entries[$0]! })
        try list("files", paths.filter { !entries[$0]! })
        try list("paths", paths)
        #expect(
            shell("cd '\(root)' && xargs -0 mkdir -p -- < .git/directories && xargs -0 touch -- < .git/files").status
                == 0)
        let subdirectory = try #require(
            paths.first { entries[$0]! && !$0.contains(0x2F) && $0.allSatisfy { $0 < 0x80 } })

        var compared = 0
        for round in 0..<rounds {
            func lines() -> [[UInt8]] {
                (0..<Int.random(in: 1...8, using: &random)).map { _ in pattern(&random) }.filter { !isOddOfGit($0) }
            }
            let top = lines()
            let deep = Bool.random(using: &random) ? lines() : []
            func write(_ lines: [[UInt8]], _ directory: String) throws {
                try Data(lines.flatMap { $0 + [0x0A] }).write(to: URL(fileURLWithPath: directory + "/.gitignore"))
            }
            try write(top, root)
            try write(deep, root + "/" + String(decoding: subdirectory, as: UTF8.self))
            let answer = shell("cd '\(root)' && git check-ignore --no-index -z -v -n --stdin < .git/paths")
            let fields = answer.output.split(separator: 0, omittingEmptySubsequences: false)
            guard fields.count == paths.count * 4 + 1 else {
                Issue.record("git answered with \(fields.count) fields, status \(answer.status)")
                return
            }
            let patterns =
                ExclusionPattern.parse(file: top.flatMap { $0 + [0x0A] })
                + ExclusionPattern.parse(file: deep.flatMap { $0 + [0x0A] }, base: subdirectory)
            let rules = ExclusionRules(patterns)
            // A file of patterns means in each protected path what a .gitignore means at the top.
            let roots = ["srv/one", "home/two"].map { Array($0.utf8) }
            let given =
                deep.isEmpty
                ? ExclusionRules(ExclusionPattern.exclusionFile(top.flatMap { $0 + [0x0A] }, roots: roots)) : nil
            for (index, path) in paths.enumerated() {
                // git names the pattern that decides; one that takes back begins with "!".
                let decided = Array(fields[index * 4 + 2])
                let expected = !decided.isEmpty && decided.first != UInt8(ascii: "!")
                let actual = isExcluded(rules, path, entries[path]!)
                let below = given.map { rules in
                    roots.map { isExcluded(rules, $0 + [0x2F] + path, entries[path]!, below: $0.count) }
                }
                compared += 1
                if expected != actual || below?.contains(!expected) == true {
                    let text = (top + [Array("-- in the directory:".utf8)] + deep).map {
                        String(decoding: $0, as: UTF8.self)
                    }
                    Issue.record(
                        """
                        seed \(seed) round \(round): \(String(decoding: path, as: UTF8.self)) \
                        (\(entries[path]! ? "directory" : "file")): git \(expected) by \
                        \(String(decoding: decided, as: UTF8.self)), we \(actual), in paths \(below ?? []), subdirectory \
                        \(String(decoding: subdirectory, as: UTF8.self)), patterns \(text)
                        """)
                    return
                }
            }
        }
        print("\(compared) decisions compared with git's")
    }

    /// As a walk would decide: an excluded directory takes everything below it along.
    private func isExcluded(_ rules: ExclusionRules, _ path: [UInt8], _ isDirectory: Bool, below root: Int = 0) -> Bool
    {
        for (index, byte) in path.enumerated() where byte == 0x2F && index > root {
            if case .excluded = rules.verdict(Array(path[..<index]), isDirectory: true) { return true }
        }
        if case .excluded = rules.verdict(path, isDirectory: isDirectory) { return true }
        return false
    }

    private func shell(_ command: String) -> (status: Int32, output: Data) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", command]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return (-1, Data()) }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, data)
    }

    @Test("random bytes as patterns and paths neither crash nor hang")
    func garbage() {
        let seed = UInt64.random(in: 1 ... .max)
        print("seed \(seed)")
        var random = Seeded(state: seed)
        let alphabet: [UInt8] = Array("ab/*?[]!\\-^:[: alpha:]".utf8) + [0xFF, 0x20, 0x00]
        for _ in 0..<3_000 {
            let patterns = (0..<3).map { _ in
                ExclusionPattern(
                    (0..<Int.random(in: 0...24, using: &random)).map { _ in alphabet.randomElement(using: &random)! })
            }
            let rules = ExclusionRules(patterns)
            for _ in 0..<5 {
                let path = (0..<Int.random(in: 0...30, using: &random)).map { _ in
                    alphabet.randomElement(using: &random)!
                }
                _ = rules.verdict(path, isDirectory: Bool.random(using: &random))
            }
        }
    }
}
