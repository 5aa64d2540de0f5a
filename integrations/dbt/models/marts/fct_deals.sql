-- A table, and not incremental: it shows names of phases, pipelines, sources and reasons, and a deal's _changed_at does not rise when one of
-- these is renamed.
with phase as (
    select account, deal_id, started_at as phase_started_at
    from {{ ref('stg_teamleader__deal_phase_history') }}
    where is_current
),

phases_before as (
    select account, deal_id, count(*) as phase_count
    from {{ ref('stg_teamleader__deal_phase_history') }}
    group by account, deal_id
)

select
    {{ teamleader_key('deals.id', 'deals.account') }} as deal_key,
    deals.account,
    deals.id as deal_id,
    deals.reference,
    deals.title,
    deals.status,
    deals.status = 'won' as is_won,
    deals.status = 'lost' as is_lost,
    deals.status in ('won', 'lost') as is_closed,
    {{ teamleader_key('deals.lead_customer_id', 'deals.account') }} as customer_key,
    deals.lead_customer_type as customer_type,
    deals.lead_customer_id as customer_id,
    deals.lead_contact_person_id as contact_person_id,
    deals.department_id,
    deals.responsible_user_id,
    deals.pipeline_id,
    pipelines.name as pipeline,
    deals.current_phase_id as phase_id,
    phases.name as phase,
    phase.phase_started_at,
    coalesce(phases_before.phase_count, 0) as phase_count,
    phases.probability as phase_probability,
    deals.estimated_probability,
    deals.estimated_value_amount as estimated_value,
    deals.estimated_value_currency,
    deals.weighted_value_amount as weighted_value,
    deals.weighted_value_currency,
    deals.estimated_closing_date,
    sources.name as source,
    lost_reasons.name as lost_reason,
    deals.lost_reason_remark,
    deals.created_at,
    deals.closed_at,
    deals.updated_at,
    deals.web_url,
    deals._changed_at
from {{ source('teamleader', 'deals') }} as deals
left join {{ source('teamleader', 'deal_phases') }} as phases
    on phases.account = deals.account and phases.id = deals.current_phase_id
left join {{ source('teamleader', 'deal_pipelines') }} as pipelines
    on pipelines.account = deals.account and pipelines.id = deals.pipeline_id
left join {{ source('teamleader', 'deal_sources') }} as sources
    on sources.account = deals.account and sources.id = deals.source_id
left join {{ source('teamleader', 'lost_reasons') }} as lost_reasons
    on lost_reasons.account = deals.account and lost_reasons.id = deals.lost_reason_reason_id
left join phase on phase.account = deals.account and phase.deal_id = deals.id
left join phases_before on phases_before.account = deals.account and phases_before.deal_id = deals.id
