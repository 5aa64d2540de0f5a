-- Time entries, each once. Three parts, so that a question about one customer finds its subjects first and their time
-- by the index on the subject.
select t.*, t.subject_type as customer_type, t.subject_id as customer_id,
    case when t.projects_v2_project_id is not null then 'nextgenProject' end as project_type,
    t.projects_v2_project_id as project_id, null::uuid as milestone_id, null::uuid as ticket_id, null::uuid as task_id,
    null::uuid as event_id, null::uuid as deal_id
from teamleader_views.time_tracking t
where t.subject_type in ('company', 'contact')
union all
-- The new projects: the subject has an id of its own, and what the entry relates to says where it belongs.
select t.*, c.customer_type, c.customer_id, 'nextgenProject', coalesce(t.projects_v2_project_id, k.project_id), null,
    null, null, null, null
from teamleader_views.time_tracking t
left join teamleader_views.projects_v2_tasks k on k.account = t.account and k.id = t.projects_v2_task_id
left join teamleader_views.projects_v2_project_customers c
    on c.account = t.account and c.project_id = coalesce(t.projects_v2_project_id, k.project_id) and c.position = 1
where t.subject_type is distinct from 'company' and t.subject_type is distinct from 'contact'
    and (t.projects_v2_task_id is not null or t.projects_v2_project_id is not null)
union all
select t.*, s.customer_type, s.customer_id, s.project_type, s.project_id, s.milestone_id, s.ticket_id, s.task_id,
    s.event_id, s.deal_id
from teamleader_views.time_tracking t
left join (
    select m.account, 'milestone' as kind, m.id, p.customer_type, p.customer_id,
        coalesce(m.project_type, 'project') as project_type, m.project_id, m.id as milestone_id, null::uuid as ticket_id,
        null::uuid as task_id, null::uuid as event_id, null::uuid as deal_id
    from teamleader_views.milestones m
    left join teamleader_views.projects p on p.account = m.account and p.id = m.project_id
    union all
    select k.account, 'ticket', k.id, k.customer_type, k.customer_id, k.project_type, k.project_id, k.milestone_id,
        k.id, null, null, null
    from teamleader_views.tickets k
    union all
    -- The customer of a task is its own; else that of its deal, else that of its project.
    select a.account, 'todo', a.id,
        case when a.customer_id is not null then a.customer_type
            when d.lead_customer_id is not null then d.lead_customer_type
            when p.customer_id is not null then p.customer_type
            else v.customer_type end,
        coalesce(a.customer_id, d.lead_customer_id, p.customer_id, v.customer_id),
        case when a.project_id is not null then coalesce(a.project_type, 'project')
            when m.project_id is not null then 'project' end,
        coalesce(a.project_id, m.project_id), a.milestone_id, a.ticket_id, a.id, null, a.deal_id
    from teamleader_views.tasks a
    left join teamleader_views.deals d on d.account = a.account and d.id = a.deal_id
    left join teamleader_views.milestones m on m.account = a.account and m.id = a.milestone_id
    left join teamleader_views.projects p
        on p.account = a.account and p.id = coalesce(a.project_id, m.project_id)
    left join teamleader_views.projects_v2_project_customers v
        on v.account = a.account and v.project_id = a.project_id and v.position = 1
    union all
    -- The customer of an event is the first that it links to; else that of the first deal.
    select e.account, 'event', e.id,
        case when l.customer_id is not null then l.customer_type else d.lead_customer_type end,
        coalesce(l.customer_id, d.lead_customer_id), null, null, null, null, null, e.id, l.deal_id
    from teamleader_views.events e
    left join (
        select k.account, k.event_id,
            (array_agg(k.link_type order by k.position) filter (where k.link_type <> 'deal'))[1] as customer_type,
            (array_agg(k.link_id order by k.position) filter (where k.link_type <> 'deal'))[1] as customer_id,
            (array_agg(k.link_id order by k.position) filter (where k.link_type = 'deal'))[1] as deal_id
        from teamleader_views.event_links k
        where k.link_type in ('company', 'contact', 'deal')
        group by k.account, k.event_id
    ) l on l.account = e.account and l.event_id = e.id
    left join teamleader_views.deals d on d.account = e.account and d.id = l.deal_id
    union all
    select d.account, 'deal', d.id, d.lead_customer_type, d.lead_customer_id, null, null, null, null, null, null, d.id
    from teamleader_views.deals d
) s on s.account = t.account and s.kind = t.subject_type and s.id = t.subject_id
where t.subject_type is distinct from 'company' and t.subject_type is distinct from 'contact'
    and t.projects_v2_task_id is null and t.projects_v2_project_id is null
