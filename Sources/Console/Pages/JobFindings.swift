import Catalog
import Client
import Model
import Vault

/// What a job that has ended found or did, in words.
enum JobFindings {
    /// Nothing for work that leaves no report, and for one of another version.
    static func show(_ job: JobRecord) -> HTML? {
        guard let result = job.result,
            let fields = try? JSONFields(
                parsing: result, document: "the result", atMost: AdministrationMessages.maximumReport),
            let said = try? words(job.kind, fields)
        else { return nil }
        let more: [HTML] = said.more.prefix(50).map { "<li>\($0)</li>" }
        let list: HTML? = more.isEmpty ? nil : "<ul>\(more)</ul>"
        return "<section><h2>What came of it</h2><p>\(said.first)</p>\(list)</section>"
    }

    private static func words(_ kind: String, _ fields: JSONFields) throws -> (first: HTML, more: [String])? {
        switch kind {
        case "verify": return verification(try AdministrationMessages.verificationReport(fields))
        case "reclaim":
            let report = try AdministrationMessages.collectionReport(fields)
            var more: [String] = []
            if report.leftForRoom > 0 {
                more.append("\(Units.count(report.leftForRoom, "pack")) stay: the disk has no room for the copies.")
            }
            if !report.lost.isEmpty {
                more.append("\(Units.count(report.lost.count, "blob")) that points need are lost: check the vault.")
            }
            more += report.unreadable.map { "Pack \($0.pack.hex.prefix(12)) cannot be read: \($0.reason)" }
            let packs =
                "\(Units.count(report.deletedPacks, "pack")) deleted, \(report.rewrittenPacks) rewritten into \(report.newPacks)"
            return ("\(Piece.size(report.freedBytes)) freed: \(packs).", more)
        case "plan-reclaim":
            let plan = try AdministrationMessages.plan(fields)
            let needed: [String] =
                plan.lost.isEmpty ? [] : ["\(Units.count(plan.lost.count, "blob")) that points need are lost."]
            return (
                "\(Piece.size(plan.freedBytes)) of \(Units.binarySize(plan.totalBytes)) can be freed: \(Units.count(plan.dead.packs, "pack")) nobody needs, \(Units.count(plan.rewritten.packs, "pack")) to be rewritten.",
                needed
            )
        case "retention", "plan-retention":
            let report = try RetentionReport.decode(fields)
            let verb = kind == "retention" ? "removed" : "would be removed"
            return (
                "\(Units.count(report.kept, "point")) kept, \(Units.count(report.removed)) \(verb), on \(Units.count(report.machines.count, "machine")).",
                []
            )
        case "rebuild":
            let report = try AdministrationMessages.rebuildReport(fields)
            var more: [String] = []
            if !report.damagedPoints.isEmpty {
                more.append("\(Units.count(report.damagedPoints.count, "point")) name something damaged or lost.")
            }
            more += report.unreadable.map { "Pack \($0.pack.hex.prefix(12)) cannot be read: \($0.reason)" }
            return (
                "The catalog was made of \(Units.count(report.packs, "pack")) with \(Units.count(report.points, "point")).",
                more + report.unsigned + report.chain
            )
        default: return nil
        }
    }

    private static func verification(_ report: VerificationReport) -> (first: HTML, more: [String]) {
        let depth: String =
            switch report.level {
            case .structure: "that everything which is named is there"
            case .packs: "their bytes"
            case .data: "their bytes, and everything in them was opened"
            }
        let checked: HTML =
            "Checked: \(Units.count(report.checkedPacks, "pack")) (\(depth)), \(Piece.size(report.checkedBytes)) read."
        if report.isSound { return ("\(Piece.state("good", "The vault is sound")) \(checked)", []) }
        var more: [String] = []
        if !report.damagedPoints.isEmpty {
            more.append("\(Units.count(report.damagedPoints.count, "point")) cannot be restored in full.")
        }
        if report.damagedBlobs > 0 {
            more.append(
                "\(Units.count(report.damagedBlobs, "stored piece")) are damaged, \(Units.count(report.foundBlobs)) of them found by this check."
            )
        }
        more += report.lostPacks.map { "Pack \($0.hex.prefix(12)) is lost." }
        more += report.damagedPacks.map { "Pack \($0.pack.hex.prefix(12)) is damaged: \($0.reason)" }
        more += report.findings
        more.append("The next backup of each machine stores again what it still has of this.")
        return ("\(Piece.state("bad", "The vault is damaged")) \(checked)", more)
    }
}
