package import Model

extension EffectivePolicy {
    /// What decides about points, as a text: the same for the same rules, wherever they were written.
    package var retentionFingerprint: String {
        func text(_ amounts: [RetentionKey: RetentionAmount]) -> String {
            RetentionKey.allCases.compactMap { key in amounts[key].map { "\(key.rawValue)=\($0)" } }.joined(
                separator: ",")
        }
        var lines = [
            text(retention.mapValues(\.value)), "checkpoints=\(checkpointKeep.value)", "zone=\(timezone.value)",
        ]
        for rule in retentionRules {
            switch rule.value.selector {
            case .match(let pattern): lines.append("match \(pattern): \(text(rule.value.amounts))")
            case .path(let path): lines.append("path \(TreePath.display(path)): \(text(rule.value.amounts))")
            }
        }
        return lines.joined(separator: "\n")
    }

    /// What becomes of a machine's points.
    ///
    /// Points stay or go whole. So a rule for some files that keeps longer than the default keeps the points that it needs,
    /// with everything in them, and one that keeps shorter frees nothing.
    package func retentionPlan(
        of points: [RetentionPoint], in zone: TimeZoneRules, isRetired: Bool = false
    ) -> [RetentionPlan.Decision] {
        var sets = [retentionRulesOfPoints]
        for rule in retentionRules {
            var rules = retentionRulesOfPoints
            for (key, amount) in rule.value.amounts { rules.set(key, amount) }
            if !sets.contains(rules) { sets.append(rules) }
        }
        var decisions: [RetentionPlan.Decision] = []
        for rules in sets {
            let plan = RetentionPlan(points: points, rules: rules, zone: zone, isRetired: isRetired).decisions
            if decisions.isEmpty {
                decisions = plan
                continue
            }
            // The order is that of the points: the same in each plan.
            for (index, decision) in plan.enumerated() {
                let further = decision.reasons.filter { !decisions[index].reasons.contains($0) }
                decisions[index].reasons += further
            }
        }
        return decisions
    }
}
