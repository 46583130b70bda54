import Model
import Testing

@testable import Vault

@Suite("What is remembered of a machine's points")
struct PointMemoryTests {
    @Test("is bounded in memory, with very many paths and whatever else records have")
    func bound() throws {
        var record = PointRecord(root: ContentKey(.zero))
        // Short paths: what an array of each costs is more than its bytes.
        record.protectedPaths = (0..<PointRecord.maximumProtectedPaths).map { [UInt8($0 & 0xFF)] }
        record.warnings = (0..<100).map { PointWarning(reason: .other, path: [0x61], text: "\($0)") }
        let outline = PointOutline(record)
        #expect(outline.protectedPaths == record.protectedPaths && outline.root == record.root)
        let memory = PointMemory()
        let points = (0..<40).map { _ in PointID.random() }
        for point in points { _ = try memory.outline(of: point) { outline } }
        #expect(memory.hasOutline(of: points[39]))
        // Each takes four megabytes and more; sixteen of them fill it.
        #expect(points.count { memory.hasOutline(of: $0) } <= 17)
        #expect(!memory.hasOutline(of: points[0]))
    }
}
