-- With the phase's name, and when the next one began. The times have no offset, as Teamleader tells them.
select
    history.account,
    history.deal_id,
    history.position,
    history.phase_id,
    phases.name as phase,
    history.started_at,
    lead(history.started_at) over of_deal as ended_at,
    history.started_by_id,
    lead(history.position) over of_deal is null as is_current
from {{ source('teamleader', 'deal_phase_history') }} as history
left join {{ source('teamleader', 'deal_phases') }} as phases
    on phases.account = history.account and phases.id = history.phase_id
window of_deal as (partition by history.account, history.deal_id order by history.position)
