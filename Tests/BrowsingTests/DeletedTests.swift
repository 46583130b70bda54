import Model
import TestSupport
import Testing
import Vault

@testable import Browsing

@Suite("What was deleted")
struct DeletedTests {
    private static func path(_ text: String) throws -> TreePath { try #require(TreePath(text)) }

    private static func names(_ numbers: some Sequence<Int>) -> [TestName] {
        numbers.map { .file("/d/\(10_000 + $0)") }
    }

    /// All pages of a directory: what is there and what is gone.
    private static func pages(
        _ files: MachineFiles, _ point: PointSummary, limit: Int
    ) throws -> (there: [String], gone: [String], pages: Int) {
        var (there, gone): ([String], [String]) = ([], [])
        var after: [UInt8]?
        for number in 1...100 {
            let page = try files.listingWithDeleted(of: path("/d"), at: point, after: after, limit: limit)
            #expect(page.items.count <= limit && page.deleted.count <= limit)
            #expect(page.deleted.allSatisfy { $0.lastPoint != nil })
            there += page.items.map { String(decoding: $0.path.name, as: UTF8.self) }
            gone += page.deleted.map { String(decoding: $0.path.name, as: UTF8.self) }
            guard let next = page.next else { return (there, gone, number) }
            after = next
        }
        throw HoldfastError(.internalError, "pages without end")
    }

    @Test("of a thousand files that are all gone each is on one of the pages")
    func all() throws {
        let history = try MachineFilesTests.History()
        try history.add(Self.names(0..<1_000))
        try history.add([.directory("/d")])
        let files = try history.files()
        let found = try Self.pages(files, try #require(files.points.last), limit: 200)
        #expect(found.there.isEmpty && found.gone == (0..<1_000).map { "\(10_000 + $0)" } && found.pages == 5)
        // The directory is gone, too.
        try history.add([.file("/e")])
        let later = try history.files()
        #expect(try Self.pages(later, try #require(later.points.last), limit: 200).gone.count == 1_000)
    }

    @Test("what is gone stands on the page on which its name would be, the last one included")
    func last() throws {
        let history = try MachineFilesTests.History()
        let gone = [5, 150, 250, 299]
        try history.add(Self.names(0..<300))
        try history.add(Self.names((0..<300).filter { !gone.contains($0) }))
        let files = try history.files()
        let point = try #require(files.points.last)
        let found = try Self.pages(files, point, limit: 200)
        #expect(found.gone == gone.map { "\(10_000 + $0)" } && found.there.count == 296 && found.pages == 2)
        let first = try files.listingWithDeleted(of: Self.path("/d"), at: point, limit: 200)
        #expect(first.deleted.count == 2 && first.items.count == 200 && !first.isSampled)
    }

    @Test(
        "where much was deleted between names that are there, nothing is left out and nothing comes twice",
        arguments: [3, 7, 50])
    func mixed(limit: Int) throws {
        let history = try MachineFilesTests.History()
        let kept = (0..<120).filter { $0 < 5 || (60..<80).contains($0) || $0 % 11 == 0 }
        try history.add(Self.names((0..<120).filter { $0 % 2 == 0 || kept.contains($0) }))
        try history.add(Self.names((0..<120).filter { $0 % 3 == 0 || kept.contains($0) }))
        try history.add(Self.names(kept))
        let files = try history.files()
        let found = try Self.pages(files, try #require(files.points.last), limit: limit)
        let gone = (0..<120).filter { ($0 % 2 == 0 || $0 % 3 == 0) && !kept.contains($0) }
        #expect(found.there == kept.map { "\(10_000 + $0)" })
        #expect(found.gone == gone.map { "\(10_000 + $0)" })
    }
}
