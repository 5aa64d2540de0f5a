-- What happened with whom. One part for each kind, so that a question about one customer reads of each what it needs.
select c.account, 'call' as kind, c.id, c.participant_customer_type as customer_type,
    c.participant_customer_id as customer_id, c.participant_contact_id as contact_id, c.scheduled_at as at,
    c.scheduled_at::date as day, c.description as title, c.status,
    case when c.assignee_type is distinct from 'team' then c.assignee_id end as user_id, c.deal_id,
    null as project_type, null::uuid as project_id, c._changed_at
from teamleader_views.calls c
union all
select m.account, 'meeting', m.id, m.customer_type, m.customer_id, null, m.scheduled_at, m.scheduled_at::date, m.title,
    m.status, m.created_by_id, m.deal_id, m.project_type, m.project_id, m._changed_at
from teamleader_views.meetings m
union all
select t.account, 'task', t.id, t.customer_type, t.customer_id, null, t.completed_at,
    coalesce(t.completed_at::date, t.due_on), t.title, case when t.completed then 'completed' else 'open' end,
    case when t.assignee_type is distinct from 'team' then t.assignee_id end, t.deal_id, t.project_type, t.project_id,
    t._changed_at
from teamleader_views.tasks t
union all
select k.account, 'ticket', k.id, k.customer_type, k.customer_id,
    case when k.participant_customer_type = 'contact' then k.participant_customer_id end,
    coalesce(k.last_message_at, k.created_at), coalesce(k.last_message_at, k.created_at)::date, k.subject,
    case when k.closed_at is null then 'open' else 'closed' end,
    case when k.assignee_type is distinct from 'team' then k.assignee_id end, null, k.project_type, k.project_id,
    k._changed_at
from teamleader_views.tickets k
union all
select e.account, 'time', e.id, e.customer_type, e.customer_id, null, e.started_at, e.started_on, e.description,
    null, e.user_id, e.deal_id, e.project_type, e.project_id, e._changed_at
from teamleader_views.time_entries e
union all
select n.account, 'note', n.id, n.subject_type, n.subject_id, null, n.added_at, n.added_at::date, n.content,
    null, null, null, null, null, n._changed_at
from teamleader_views.notes n
where n.subject_type in ('company', 'contact')
union all
select n.account, 'note', n.id, d.lead_customer_type, d.lead_customer_id, d.lead_contact_person_id, n.added_at,
    n.added_at::date, n.content, null, null, n.subject_id, null, null, n._changed_at
from teamleader_views.notes n
left join teamleader_views.deals d on d.account = n.account and d.id = n.subject_id
where n.subject_type = 'deal'
union all
select n.account, 'note', n.id, i.invoicee_customer_type, i.invoicee_customer_id,
    i.invoicee_for_attention_of_contact_id, n.added_at, n.added_at::date, n.content, null, null, i.deal_id,
    i.project_type, i.project_id, n._changed_at
from teamleader_views.notes n
left join teamleader_views.invoices i on i.account = n.account and i.id = n.subject_id
where n.subject_type = 'invoice'
union all
select n.account, 'note', n.id, c.invoicee_customer_type, c.invoicee_customer_id, null, n.added_at, n.added_at::date,
    n.content, null, null, null, null, null, n._changed_at
from teamleader_views.notes n
left join teamleader_views.credit_notes c on c.account = n.account and c.id = n.subject_id
where n.subject_type = 'creditNote'
union all
select n.account, 'note', n.id, s.invoicee_customer_type, s.invoicee_customer_id, null, n.added_at, n.added_at::date,
    n.content, null, null, null, s.project_type, s.project_id, n._changed_at
from teamleader_views.notes n
left join teamleader_views.subscriptions s on s.account = n.account and s.id = n.subject_id
where n.subject_type = 'subscription'
union all
select n.account, 'note', n.id, d.lead_customer_type, d.lead_customer_id, d.lead_contact_person_id, n.added_at,
    n.added_at::date, n.content, null, null, q.deal_id, null, null, n._changed_at
from teamleader_views.notes n
left join teamleader_views.quotations q on q.account = n.account and q.id = n.subject_id
left join teamleader_views.deals d on d.account = q.account and d.id = q.deal_id
where n.subject_type = 'quotation'
union all
select n.account, 'note', n.id, m.customer_type, m.customer_id, null, n.added_at, n.added_at::date, n.content, null,
    null, m.deal_id, m.project_type, m.project_id, n._changed_at
from teamleader_views.notes n
left join teamleader_views.meetings m on m.account = n.account and m.id = n.subject_id
where n.subject_type = 'meeting'
union all
select n.account, 'note', n.id, p.customer_type, p.customer_id, null, n.added_at, n.added_at::date, n.content, null,
    null, null, n.subject_type, n.subject_id, n._changed_at
from teamleader_views.notes n
left join teamleader_views.projects p on p.account = n.account and p.id = n.subject_id
where n.subject_type = 'project'
union all
select n.account, 'note', n.id, c.customer_type, c.customer_id, null, n.added_at, n.added_at::date, n.content, null,
    null, null, n.subject_type, n.subject_id, n._changed_at
from teamleader_views.notes n
left join teamleader_views.projects_v2_project_customers c
    on c.account = n.account and c.project_id = n.subject_id and c.position = 1
where n.subject_type = 'nextgenProject'
union all
-- Notes on what has no customer, such as a product.
select n.account, 'note', n.id, null, null, null, n.added_at, n.added_at::date, n.content, null, null, null, null,
    null, n._changed_at
from teamleader_views.notes n
where n.subject_type is null or n.subject_type not in ('company', 'contact', 'deal', 'invoice', 'creditNote',
    'subscription', 'quotation', 'meeting', 'project', 'nextgenProject')
union all
select q.account, 'quotation', q.id, d.lead_customer_type, d.lead_customer_id, d.lead_contact_person_id, q.created_at,
    q.created_at::date, q.name, q.status, d.responsible_user_id, q.deal_id, null, null, q._changed_at
from teamleader_views.quotations q
left join teamleader_views.deals d on d.account = q.account and d.id = q.deal_id
union all
select i.account, 'invoice', i.id, i.invoicee_customer_type, i.invoicee_customer_id,
    i.invoicee_for_attention_of_contact_id, null, i.invoice_date, i.invoice_number, i.status, null, i.deal_id,
    i.project_type, i.project_id, i._changed_at
from teamleader_views.invoices i
where i.status is distinct from 'draft'
