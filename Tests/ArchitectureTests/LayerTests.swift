import Foundation
import Testing

/// The modules of the project and what each may import, from the bottom up.
private let layers: [String: Set<String>] = [
    "CLinux": [],
    "CZstd": [],
    "CXXHash": [],
    "CZlib": [],
    "CCrypto": [],
    "CFuse": [],
    "Platform": ["CLinux"],
    "Model": [],
    "Policy": ["Model"],
    "Vault": ["Platform", "Model", "Policy", "CZstd", "CXXHash", "CCrypto"],
    "Catalog": ["Platform", "Model", "Policy", "Vault"],
    "Capture": ["Platform", "Model", "Policy", "Vault", "Catalog"],
    "Recovery": ["Platform", "Model", "Policy", "Vault", "Catalog", "CZlib"],
    "Browsing": ["Platform", "Model", "Vault", "Recovery"],
    "Mounting": ["Platform", "Model", "Vault", "CFuse"],
    "Client": ["Platform", "Model", "Policy", "Vault"],
    "Agent": ["Platform", "Model", "Policy", "Vault", "Catalog", "Capture", "Recovery", "Client"],
    "Server": ["Platform", "Model", "Policy", "Vault", "Catalog", "Client", "Recovery", "Browsing"],
    "Console": ["Platform", "Model", "Policy", "Vault", "Catalog", "Client", "Server", "Recovery", "Browsing"],
    "holdfast": [
        "Platform", "Model", "Policy", "Vault", "Catalog", "Capture", "Recovery", "Mounting", "Client", "Agent",
        "Server", "Console",
    ],
]

/// What comes from outside, and where it may be used. The system's own modules are everybody's.
private let outside: [String: Set<String>] = [
    "Crypto": ["Vault", "Client", "Server"],
    "CryptoExtras": ["Vault", "Server"],
    "GRDB": ["Catalog"],
    "GRDBSQLite": ["Catalog"],
    "CYaml": ["Policy"],
    "ArgumentParser": ["holdfast"],
    "AsyncHTTPClient": ["Client"],
    "HTTPTypes": ["Server"],
    "Hummingbird": ["Server"],
    "HummingbirdCore": ["Server"],
    "HummingbirdHTTP2": ["Server"],
    "Logging": ["Server", "holdfast"],
    "NIOCore": ["Client", "Server"],
    "NIOHTTP1": ["Client"],
    "NIOPosix": ["Client", "Server"],
    "NIOSSL": ["Client", "Server"],
    "ServiceLifecycle": ["Server"],
    "SwiftASN1": ["Server"],
    "UnixSignals": ["Server"],
    "X509": ["Server"],
    "Foundation": ["Catalog", "Client", "Server", "holdfast"],
    "FoundationEssentials": ["Vault", "Catalog", "holdfast"],
]

private let system: Set<String> = ["Swift", "Synchronization", "Glibc", "Testing", "Dispatch"]

@Suite("Architecture")
struct LayerTests {
    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every source file below `folder` with its text, by its path from the checkout.
    private func sources(_ folder: String, _ suffixes: [String] = [".swift"]) throws -> [(path: String, text: String)] {
        let start = root.appendingPathComponent(folder)
        let names = try #require(FileManager.default.subpaths(atPath: start.path))
        return try names.sorted().filter { name in suffixes.contains { name.hasSuffix($0) } }.map { name in
            let text = try String(contentsOf: start.appendingPathComponent(name), encoding: .utf8)
            return ("\(folder)/\(name)", text)
        }
    }

    /// The modules that a file imports, whatever words stand before `import`.
    static func imports(of text: String) -> Set<String> {
        var found: Set<String> = []
        for line in text.split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
            guard let at = words.firstIndex(of: "import"), at + 1 < words.count,
                words[..<at].allSatisfy({ word in
                    word.hasPrefix("@") || ["package", "public", "internal", "private", "fileprivate"].contains(word)
                })
            else { continue }
            var name = words[at + 1]
            if ["struct", "class", "enum", "func", "protocol", "typealias", "let", "var"].contains(name),
                at + 2 < words.count
            {
                name = words[at + 2]
            }
            found.insert(String(name.prefix { $0 != "." && $0 != ";" }))
        }
        return found
    }

    @Test("a module imports only modules below it")
    func importsPointDown() throws {
        for (path, text) in try sources("Sources") {
            let module = String(path.split(separator: "/")[1])
            let allowed = try #require(layers[module], "\(module) is not a layer: add it to LayerTests")
            for name in Self.imports(of: text) {
                if layers[name] != nil {
                    #expect(allowed.contains(name), "\(path) imports \(name), which is not below \(module)")
                } else if let users = outside[name] {
                    #expect(users.contains(module), "\(path) imports \(name), which is not for \(module)")
                } else {
                    #expect(system.contains(name), "\(path) imports \(name), which nobody has agreed to")
                }
            }
        }
    }

    @Test("the package declares no dependency upwards")
    func packageDependenciesPointDown() throws {
        let text = try String(contentsOf: root.appendingPathComponent("Package.swift"), encoding: .utf8)
        var seen: Set<String> = []
        for declaration in text.components(separatedBy: "arget(").dropFirst() {
            guard let name = declaration.firstMatch(of: /name: "(\w+)"/)?.output.1.description,
                let allowed = layers[name]
            else { continue }
            seen.insert(name)
            guard let list = declaration.firstMatch(of: /dependencies: \[([^\]]*)\]/)?.output.1 else { continue }
            for match in list.matches(of: /"(\w+)"/) {
                let dependency = String(match.output.1)
                #expect(allowed.contains(dependency), "Package.swift lets \(name) depend on \(dependency)")
            }
        }
        #expect(seen.isSuperset(of: ["Platform", "Model", "Vault", "Catalog", "Capture", "Recovery", "holdfast"]))
    }

    @Test("imports are found whatever stands before them")
    func importParsing() {
        let text = """
            package import Model
            @testable import Vault
              @_spi(X) public import Catalog
            import struct Foundation.Data
            // import Comment
            let text = "import Nothing"
            """
        #expect(Self.imports(of: text) == ["Model", "Vault", "Catalog", "Foundation"])
    }

    @Test("files stay readable in one sitting")
    func fileLengths() throws {
        for (path, text) in try sources("Sources", [".swift", ".c", ".h"]) + sources("Tests") {
            // A list of words is not read from top to bottom.
            if path.hasSuffix("Words.swift") { continue }
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).count
            #expect(lines <= 900, "\(path) has \(lines) lines")
        }
    }

    @Test("no work is left for later in the source, and nothing that can happen ends the process")
    func unfinishedWork() throws {
        let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X:", "fatal" + "Error(", "unimplemented("]
        for (path, text) in try sources("Sources", [".swift", ".c", ".h"]) {
            for mark in marks { #expect(!text.contains(mark), "\(path) has \(mark)") }
        }
    }

    @Test("file names are never turned into text and back on the way through the engine")
    func lossyNames() throws {
        for (path, text) in try sources("Sources") where path.hasPrefix("Sources/Capture") {
            #expect(!text.contains("String(cString:"), "\(path) makes a String of a C string")
        }
    }

    @Test("the repository speaks of the product, not of the place where it was written")
    func noWorkplace() throws {
        let words = [
            "/work/" + "shared", "/work/" + "main", "/ro" + "ot/", "A" + "GENTS.md", "chat" + "gpt", "cla" + "ude",
        ]
        let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "Package.swift"]
        var texts = try sources("Sources", [".swift", ".c", ".h"]) + sources("Tests", [".swift", ".txt"])
        texts += try sources("docs", [".md"]) + sources("scripts", [""])
        for page in pages {
            if let text = try? String(contentsOf: root.appendingPathComponent(page), encoding: .utf8) {
                texts.append((page, text))
            }
        }
        for (path, text) in texts {
            for word in words {
                #expect(!text.lowercased().contains(word.lowercased()), "\(path) mentions \(word)")
            }
        }
    }
}
