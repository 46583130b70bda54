package import Model

extension EffectivePolicy {
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
