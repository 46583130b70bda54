import Catalog
package import Client
package import Model
package import Policy
import Vault

/// What a change of a policy would bring a machine.
package struct PolicyPreview: Sendable {
    package let machine: MachineID
    package let name: String
    /// What holds now; `nil` when that cannot be read.
    package let before: EffectivePolicy?
    package let after: EffectivePolicy

    package var isChange: Bool { before.map { !$0.hasSameValues(as: after) } ?? true }

    static func encode(_ previews: [PolicyPreview]) -> [UInt8] {
        JSONValue.object([
            "machines": .array(
                previews.map { preview in
                    .object([
                        "machine": .string(preview.machine.hex), "name": .string(preview.name),
                        "before": .string(preview.before?.yaml() ?? ""), "after": .string(preview.after.yaml()),
                        "changes": .bool(preview.isChange),
                    ])
                })
        ]).encoded()
    }
}

extension PolicyBook {
    /// Machines that are looked at for one preview.
    package static let mostPreviews = 200

    /// Everything that is wrong with a text, and the policy when nothing is.
    package func check(_ text: String) -> Checked<Policy> { PolicyFile(zones: zones).check(Array(text.utf8)) }

    /// The machines that have a policy, by their own or by a group, by name.
    package func subjects(having policy: String) throws -> [PolicySubject] {
        let groups = Set(try catalog.groupPolicies().filter { $0.value == policy }.keys)
        return try machines().filter { $0.policy == policy || !groups.isDisjoint(with: $0.groups) }
    }

    /// What machines would get if a text were kept under the name that it says. A machine that does not have the policy is shown
    /// as if it were its own.
    ///
    /// - Parameter ids: `nil` for those that have it, at most `mostPreviews`.
    /// - Throws: `usage` for a text with mistakes, and for other policies of a machine that cannot be read.
    package func preview(_ text: String, file: String, for ids: [MachineID]? = nil) throws -> [PolicyPreview] {
        let policy = try PolicyFile(zones: zones).parse(Array(text.utf8), file: file)
        let known = try machines()
        let wanted: [PolicySubject]
        if let ids {
            let chosen = Set(ids)
            wanted = known.filter { chosen.contains($0.machine) }
        } else {
            wanted = try subjects(having: policy.name)
        }
        return try wanted.prefix(Self.mostPreviews).map { subject in
            let before = try document(of: subject.machine)
            let after = Self.replacing(policy.name, with: text, in: before)
            return PolicyPreview(
                machine: subject.machine, name: subject.name, before: try? before.policySet(zones).effective,
                after: try after.policySet(zones).effective)
        }
    }

    private static func replacing(_ name: String, with text: String, in document: PolicyDocument) -> PolicyDocument {
        var document = document
        var isThere = false
        for index in document.groups.indices where document.groups[index].name == name {
            document.groups[index].text = text
            isThere = true
        }
        if document.own?.name == name || !isThere {
            document.own = PolicyDocument.Layer(name: name, text: text)
        }
        return document
    }
}
