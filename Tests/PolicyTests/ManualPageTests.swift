import Foundation
import TestSupport
import Testing

@testable import Policy

@Suite("The page about policies")
struct ManualPageTests {
    private var page: String {
        get throws {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent()
            return try String(contentsOf: root.appendingPathComponent("docs/policies.md"), encoding: .utf8)
        }
    }

    @Test("its examples are read without a complaint")
    func examples() throws {
        let blocks = try page.components(separatedBy: "```yaml\n").dropFirst().map {
            $0.components(separatedBy: "```")[0]
        }
        #expect(blocks.count >= 5)
        for block in blocks {
            let problems =
                block.contains("allow.yaml")
                ? MachineAllowance.check(Array(block.utf8)).problems : Policies.file.check(Array(block.utf8)).problems
            #expect(problems.isEmpty, "\(block): \(problems)")
        }
    }

    @Test("its tables name every key, class and preset, and the defaults that hold")
    func tables() throws {
        let page = try page
        let defaults = EffectivePolicy()
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
        func row(_ key: String) -> String? { rows.first { $0.hasPrefix("| `\(key)`") } }
        for key in PolicyFile.keys { #expect(rows.contains { $0.contains("`\(key)") }, "\(key) has no row") }
        for key in RetentionKey.allCases {
            let text = try #require(row("retention.default.\(key.rawValue)"))
            let value = defaults.retention[key]?.value.description
            #expect(text.contains(value.map { "| `\($0)` |" } ?? "| none |"), "\(text)")
        }
        let values = [
            ("schedule", defaults.schedule.value.description), ("timezone", "local"),
            ("expected", defaults.expected.value.description),
            ("spool.size", QuantityText.size(defaults.spoolSize.value)),
            ("history.duration", QuantityText.duration(defaults.historyDuration.value)),
            ("history.share", defaults.historyShare.value.description),
            ("settle.close", QuantityText.duration(defaults.settleClose.value)),
            ("settle.modify", QuantityText.duration(defaults.settleModify.value)),
            ("settle.longest", "60s"), ("checkpoint.keep", "30d"),
        ]
        for (key, value) in values { #expect(row(key)?.contains("| `\(value)` |") == true, "\(key): \(value)") }
        for name in MachineClass.allCases.map(\.rawValue) { #expect(page.contains("`\(name)`")) }
        for name in ExclusionPreset.allCases.map(\.rawValue) { #expect(row(name) != nil) }
    }

    @Test("the errors it shows are those that are told")
    func errors() throws {
        let text = """
            name: laptops

            excludes: []



            schedule: dayly 02:00
            spool:
              size:    10 bananas
            """
        let problems = Policies.file.check(Array(text.utf8)).problems.map { $0.located(in: "laptops.yaml") }
        for problem in problems { #expect(try page.contains(problem), "\(problem)") }
        #expect(problems.count == 3)
    }
}
