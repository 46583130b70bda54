import Foundation
import Platform
import Testing

@testable import Capture

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

private func rules(_ lines: String...) -> ExclusionRules {
    ExclusionRules(ExclusionPattern.parse(file: bytes(lines.joined(separator: "\n"))))
}

/// Whether a walk would leave the path out: one of its directories or itself is excluded. A slash at the end makes it a
/// directory.
private func excludes(_ rules: ExclusionRules, _ path: String) -> Bool {
    let isDirectory = path.hasSuffix("/")
    let components = path.split(separator: "/")
    for count in 1...components.count {
        let part = bytes(components[..<count].joined(separator: "/"))
        let last = count == components.count
        if case .excluded = rules.verdict(part, isDirectory: last ? isDirectory : true) { return true }
    }
    return false
}

@Suite struct MatchingTests {
    @Test("a name is excluded at any depth, as file and as directory")
    func names() {
        let rules = rules("node_modules", "*.o", "core*", "Thumbs.db")
        for path in [
            "node_modules/", "a/b/node_modules/x", "x.o", "deep/er/x.o", ".o", "core", "core.1234", "a/Thumbs.db",
        ] {
            #expect(excludes(rules, path), "\(path)")
        }
        for path in ["node_module", "x.oo", "o", "score", "thumbs.db", "a/Thumbs.dbx"] {
            #expect(!excludes(rules, path), "\(path)")
        }
    }

    @Test("a slash at the end means directories only")
    func directoriesOnly() {
        let rules = rules("build/", "*.tmp/")
        #expect(excludes(rules, "a/build/"))
        #expect(excludes(rules, "a/build/x"))
        #expect(excludes(rules, "x.tmp/y"))
        #expect(!excludes(rules, "a/build"))
        #expect(!excludes(rules, "x.tmp"))
    }

    @Test("a slash at the beginning or in the middle anchors")
    func anchored() {
        let rules = rules("/home/*/.cache", "var/log", "/top")
        #expect(excludes(rules, "home/me/.cache/x"))
        #expect(!excludes(rules, "home/me/deep/.cache/"))
        #expect(!excludes(rules, "srv/home/me/.cache/"))
        #expect(excludes(rules, "var/log/syslog"))
        #expect(!excludes(rules, "srv/var/log/"))
        #expect(excludes(rules, "top"))
        #expect(!excludes(rules, "a/top"))
    }

    @Test("two stars between slashes stand for any number of directories")
    func twoStars() {
        let any = rules("**/cache", "/a/**/b", "logs/**", "/x/**/y/**/z")
        for path in ["cache", "p/q/cache", "a/b", "a/1/b", "a/1/2/b", "logs/x", "logs/d/", "x/y/z", "x/1/y/2/3/z"] {
            #expect(excludes(any, path), "\(path)")
        }
        for path in ["caches", "logs/", "logs", "ab", "x/z", "x/y", "q/a/b"] {
            #expect(!excludes(any, path), "\(path)")
        }
    }

    @Test("an exclamation mark takes back, the last that matches decides")
    func negation() {
        let rules = rules(
            "*.log", "!keep.log", "/secret/*", "!/secret/public", "keep.log.d/", "!keep.log", "tmp/", "!tmp/x")
        #expect(excludes(rules, "a.log"))
        #expect(!excludes(rules, "d/keep.log"))
        #expect(excludes(rules, "secret/key"))
        #expect(!excludes(rules, "secret/public/a"))
        // What lies in an excluded directory cannot be taken back.
        #expect(excludes(rules, "tmp/x"))
        #expect(rules.verdict(bytes("keep.log"), isDirectory: false) == .included(by: 5))
        #expect(rules.verdict(bytes("a.log"), isDirectory: false) == .excluded(by: 0))
        #expect(rules.verdict(bytes("other"), isDirectory: false) == .undecided)
    }

    @Test("sets, classes, question marks and escapes")
    func sets() {
        let rules = rules(
            "f[0-9]", "g[!a-c]", "h[^x]y", "[[:upper:]]up", "q?q", "\\#hash", "\\!bang", "s\\*r", "end\\ ", "[]x]b",
            "[a-]c",
            "[[:digit:][:space:]]d", "z[\\]]")
        for path in [
            "f7", "gd", "hay", "Aup", "qxq", "#hash", "!bang", "s*r", "end ", "]b", "xb", "-c", "ac", "5d", " d", "z]",
        ] {
            #expect(excludes(rules, path), "\(path)")
        }
        for path in ["fa", "ga", "hxy", "aup", "qq", "qxxq", "sxr", "end", "bc", "xd"] {
            #expect(!excludes(rules, path), "\(path)")
        }
    }

    @Test("comments, empty lines, spaces, line ends of Windows and a byte order mark are dealt with")
    func files() {
        let content: [UInt8] =
            [0xEF, 0xBB, 0xBF] + bytes("first\r\n# comment\r\n\r\n   \nsecond  \nthird\\ \n\ttab\nfour# x\nlast")
        let patterns = ExclusionPattern.parse(file: content)
        let texts = patterns.map { String(decoding: $0.text, as: UTF8.self) }
        #expect(texts == ["first", "second", "third\\ ", "\ttab", "four# x", "last"])
    }

    @Test("patterns of a directory count only below it, and more than those above")
    func bases() {
        let top = ExclusionPattern.parse(file: bytes("*.o\n/x"))
        let deep = ExclusionPattern.parse(file: bytes("!*.o\n/y\nz"), base: bytes("/src/lib/"))
        let rules = ExclusionRules(top).adding(deep)
        #expect(excludes(rules, "a.o"))
        #expect(!excludes(rules, "src/lib/a.o"))
        #expect(excludes(rules, "src/a.o"))
        #expect(excludes(rules, "src/lib/y") && !excludes(rules, "src/y") && !excludes(rules, "src/lib/d/y"))
        #expect(excludes(rules, "src/lib/d/z") && !excludes(rules, "src/z") && !excludes(rules, "src/libz/z"))
        #expect(excludes(rules, "x") && !excludes(rules, "src/lib/x"))
    }

    @Test("on the command line a leading slash means the root of the machine, an inner one each protected path")
    func commandLine() {
        let roots = [bytes("home/me"), bytes("srv")]
        let rules = ExclusionRules(
            ["/home/me/Downloads", "build/out", "*.iso", "!/srv/keep.iso"].flatMap {
                ExclusionPattern.commandLine(bytes($0), roots: roots)
            })
        #expect(excludes(rules, "home/me/Downloads/"))
        #expect(excludes(rules, "home/me/build/out") && excludes(rules, "srv/build/out"))
        #expect(!excludes(rules, "home/me/x/build/out") && !excludes(rules, "build/out"))
        #expect(excludes(rules, "anywhere/x.iso") && !excludes(rules, "srv/keep.iso"))
    }

    @Test("a pattern that cannot match says why")
    func problems() {
        #expect(ExclusionPattern(bytes("a[bc")).problem == .openBracket)
        #expect(ExclusionPattern(bytes("a\\")).problem == .trailingBackslash)
        #expect(ExclusionPattern(bytes("[[:nope:]]")).problem == .unknownClass("nope"))
        for text in ["", "!", "/", "!/"] { #expect(ExclusionPattern(bytes(text)).problem == .empty, "\(text)") }
        #expect(ExclusionPattern(bytes("fine[a]")).problem == nil)
        let rules = ExclusionRules([ExclusionPattern(bytes("a[bc")), ExclusionPattern(bytes("a//b"))])
        #expect(!excludes(rules, "a[bc") && !excludes(rules, "a/b"))
    }

    @Test("patterns made to be slow are not")
    func slow() {
        let text = String(repeating: "*a", count: 40) + "b"
        let deep = String(repeating: "**/a/", count: 40) + "b"
        let rules = rules(text, deep)
        let name = String(repeating: "a", count: 250)
        let path = Array(repeating: "a", count: 1_900).joined(separator: "/")
        #expect(rules.verdict(bytes(name), isDirectory: false) == .undecided)
        #expect(rules.verdict(bytes(path), isDirectory: false) == .undecided)
        #expect(rules.verdict(bytes(path + "/b"), isDirectory: false) == .excluded(by: 1))
    }

    @Test("names that are not UTF-8 are compared byte by byte")
    func notText() {
        let rules = ExclusionRules([ExclusionPattern([0xFF, 0x2A]), ExclusionPattern([0x5B, 0x80, 0x2D, 0x90, 0x5D])])
        #expect(rules.verdict([0xFF, 0xFE], isDirectory: false) == .excluded(by: 0))
        #expect(rules.verdict([0x61, 0x2F, 0x85], isDirectory: false) == .excluded(by: 1))
        #expect(rules.verdict([0x91], isDirectory: false) == .undecided)
    }

    @Test("a cache directory is one whose tag is a file with the signature")
    func cacheTag() throws {
        let path = "\(NSTemporaryDirectory())/holdfast-tag-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try FileDescriptor.open(bytes(path), [.readOnly, .directory])
        func tag(_ content: String) throws {
            try FileManager.default.removeItem(atPath: path + "/CACHEDIR.TAG")
            try Data(content.utf8).write(to: URL(fileURLWithPath: path + "/CACHEDIR.TAG"))
        }
        let signature = "Signature: 8a477f597d28d172789f06886806bc55"
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        try Data().write(to: URL(fileURLWithPath: path + "/CACHEDIR.TAG"))
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        try tag(signature)
        #expect(CacheDirectoryTag.isPresent(in: directory.raw))
        try tag(signature + "\n# a comment\n")
        #expect(CacheDirectoryTag.isPresent(in: directory.raw))
        try tag(" " + signature)
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        try tag(String(signature.dropLast()))
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        try Data(signature.utf8).write(to: URL(fileURLWithPath: path + "/real"))
        try FileManager.default.removeItem(atPath: path + "/CACHEDIR.TAG")
        try FileManager.default.createSymbolicLink(atPath: path + "/CACHEDIR.TAG", withDestinationPath: "real")
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        try FileManager.default.removeItem(atPath: path + "/CACHEDIR.TAG")
        try FileManager.default.createDirectory(atPath: path + "/CACHEDIR.TAG", withIntermediateDirectories: false)
        #expect(!CacheDirectoryTag.isPresent(in: directory.raw))
        let policy = ExclusionPolicy(maximumSize: 100)
        #expect(policy.isTooLarge(101) && !policy.isTooLarge(100))
        #expect(!ExclusionPolicy().isTooLarge(.max))
    }
}
